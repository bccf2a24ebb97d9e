-- SPDX-License-Identifier: MIT
-- Operations of the store, each atomic. redis.py calls the script with the name of one in `ops`.
--
-- KEYS[1] is the prefix of all keys; its hash tag puts them into one slot of a cluster. ARGV[1] is
-- the operation, the rest its arguments. Redis' own clock decides what has run out, so that the
-- clocks of the machines need not agree to a second. Numbers stay text: Lua's numbers lose digits.
--
--   s:ID         hash: grant (JSON), network, address, expires, limit, voucher, mac, bytes, addresses
--                (joined by blanks, the grant's own first)
--   a:NET ADDR   the id of the session that has this address
--   granted      sorted set: ids by granted_at        ends  sorted set: ids by expires_at
--   of:DIGEST    set: ids of a voucher's sessions     ended  sorted set: JSON by ended_at
--   changes      stream, entry NUMBER-1 for change NUMBER     number, epoch
--   counters:GATEWAY  hash: bytes by the name of the gateway's counter
--   batch:GATEWAY  the id of the gateway's last batch of reports
--   gateways     hash: the time of the last sign of life by the name of the gateway
--   v:DIGEST     hash: a voucher     d:DIGEST  set: its devices     vouchers  sorted set by created_at
--   attempt:KEY  how often KEY was tried in its window
--   hours        hash: grants by the hour since 1970
--   days         sorted set: days since 1970          day:DAY  sorted set: destinations by count

local P, op = KEYS[1], ARGV[1]
local KEPT_CHANGES = 100000  -- changes that an agent may be behind before it has to take a snapshot
local SPARE = 86400  -- seconds after a session's end at which Redis itself deletes its keys
local clock = redis.call('TIME')
local now = string.format('%d.%06d', clock[1], clock[2])
local call = redis.call

local function session(id)
  local flat = call('HGETALL', P .. 's:' .. id)
  if #flat == 0 then return nil end
  local s = { id = id }
  for i = 1, #flat, 2 do s[flat[i]] = flat[i + 1] end
  return s
end

local function log(kind, s, reason)
  local number = call('INCR', P .. 'number')
  call('XADD', P .. 'changes', 'MAXLEN', '~', KEPT_CHANGES, number .. '-1', 'kind', kind,
    'at', now, 'reason', reason or '', 'grant', s.grant, 'mac', s.mac, 'bytes', s.bytes,
    'addresses', s.addresses)
end

local function finish(id, reason, at)
  local s = session(id)
  if not s then return false end
  for address in s.addresses:gmatch('%S+') do call('DEL', P .. 'a:' .. s.network .. ' ' .. address) end
  call('DEL', P .. 's:' .. id)
  call('ZREM', P .. 'granted', id)
  call('ZREM', P .. 'ends', id)
  if s.voucher ~= '' then call('SREM', P .. 'of:' .. s.voucher, id) end
  local entry = { id = id, grant = s.grant, mac = s.mac, bytes = s.bytes, addresses = s.addresses,
    reason = reason, at = at }
  call('ZADD', P .. 'ended', at, cjson.encode(entry))
  log('ended', s, reason)
  return true
end

local function finish_all(digest, reason)
  for _, id in ipairs(call('SMEMBERS', P .. 'of:' .. digest)) do finish(id, reason, now) end
end

-- At most 500, so that no call takes long. The next call ends more.
local function expire()
  local due = call('ZRANGEBYSCORE', P .. 'ends', '-inf', now, 'WITHSCORES', 'LIMIT', 0, 500)
  for i = 1, #due, 2 do
    local s = session(due[i])
    if s then finish(due[i], 'time', s.expires) else
      -- Redis deleted it after its time to live: no call came for a day.
      call('ZREM', P .. 'ends', due[i])
      call('ZREM', P .. 'granted', due[i])
    end
  end
end

local function voucher(digest)
  local flat = call('HGETALL', P .. 'v:' .. digest)
  if #flat == 0 then return nil end
  local v = {}
  for i = 1, #flat, 2 do v[flat[i]] = flat[i + 1] end
  return v
end

local function empty(v)
  return v.limit ~= '' and tonumber(v.used) >= tonumber(v.limit)
end

local function redeemable(v)
  if v.revoked == '1' or empty(v) then return false end
  if v.first == '' then return tonumber(now) < tonumber(v.expires) end
  return tonumber(now) < tonumber(v.first) + tonumber(v.lifetime)
end

local function without(addresses, address)
  local rest = {}
  for other in addresses:gmatch('%S+') do
    if other ~= address then rest[#rest + 1] = other end
  end
  return table.concat(rest, ' ')
end

local function leave(s, address)
  local key = P .. 'a:' .. s.network .. ' ' .. address
  if address == s.address or call('GET', key) ~= s.id then return end
  call('DEL', key)
  s.addresses = without(s.addresses, address)
end

-- Moves the address to session s, unless another session was granted with it.
local function claim(s, address)
  local key = P .. 'a:' .. s.network .. ' ' .. address
  local holder = call('GET', key)
  if holder == s.id then return end
  local loser = holder and session(holder)
  if loser then
    if loser.address == address then return end
    loser.addresses = without(loser.addresses, address)
    call('HSET', P .. 's:' .. holder, 'addresses', loser.addresses)
    log('updated', loser)
  end
  call('SET', key, s.id)
  call('EXPIREAT', key, math.floor(tonumber(s.expires)) + SPARE)
  s.addresses = s.addresses .. ' ' .. address
end

local ops = {}

function ops.grant(id, grant, network, address, granted, expires, limit, digest, mac)
  if call('EXISTS', P .. 's:' .. id) == 1 then return 0 end
  local address_key, key = P .. 'a:' .. network .. ' ' .. address, P .. 's:' .. id
  local holder = call('GET', address_key)
  if holder then finish(holder, 'replaced', now) end
  call('HSET', key, 'grant', grant, 'network', network, 'address', address, 'expires', expires,
    'limit', limit, 'voucher', digest, 'mac', mac, 'bytes', '0', 'addresses', address)
  local last = math.floor(tonumber(expires)) + SPARE
  call('EXPIREAT', key, last)
  call('SET', address_key, id)
  call('EXPIREAT', address_key, last)
  call('ZADD', P .. 'granted', granted, id)
  call('ZADD', P .. 'ends', expires, id)
  if digest ~= '' then call('SADD', P .. 'of:' .. digest, id) end
  call('HINCRBY', P .. 'hours', string.format('%d', math.floor(tonumber(granted) / 3600)), 1)
  log('granted', session(id))
  return 1
end

ops['end'] = function(id, reason)
  return finish(id, reason, now) and 1 or 0
end

local function use(digest, added)
  if digest == '' or call('EXISTS', P .. 'v:' .. digest) == 0 then return end
  call('HINCRBY', P .. 'v:' .. digest, 'used', added)
  if empty(voucher(digest)) then finish_all(digest, 'data') end
end

local function report(id, mac, added, digest, addresses, left)
  local s = session(id)
  if not s then return use(digest, added) end
  local key, before = P .. 's:' .. id, s.mac .. ' ' .. s.addresses
  if mac ~= '' then s.mac = mac end
  for _, address in ipairs(left) do leave(s, address) end
  for _, address in ipairs(addresses) do claim(s, address) end
  call('HSET', key, 'mac', s.mac, 'addresses', s.addresses)
  s.bytes = string.format('%.0f', call('HINCRBY', key, 'bytes', added))
  if before ~= s.mac .. ' ' .. s.addresses then log('updated', s) end
  use(s.voucher, added)
  if s.limit ~= '' and tonumber(s.bytes) >= tonumber(s.limit) then finish(id, 'data', now) end
end

local function count_on(gateway, counts)
  local counters = P .. 'counters:' .. gateway
  for i = 1, #counts, 2 do
    if counts[i + 1] == '' then call('HDEL', counters, counts[i]) else
      call('HSET', counters, counts[i], counts[i + 1])
    end
  end
end

-- As JSON: [id, mac, added, voucher, addresses, [counter, bytes or '', ...], left], numbers as text.
function ops.report(gateway, batch, text)
  local gone, reports = {}, cjson.decode(text)
  if call('GET', P .. 'batch:' .. gateway) ~= batch then
    call('SET', P .. 'batch:' .. gateway, batch)
    for _, r in ipairs(reports) do
      report(r[1], r[2], r[3], r[4], r[5], r[7])
      count_on(gateway, r[6])
    end
  end
  for _, r in ipairs(reports) do
    if call('EXISTS', P .. 's:' .. r[1]) == 0 then gone[#gone + 1] = r[1] end
  end
  return gone
end

-- For changes(): epoch, newest number, oldest number kept, the end of the next session, the time.
function ops.position(epoch)
  call('SETNX', P .. 'epoch', epoch)
  local first = call('XRANGE', P .. 'changes', '-', '+', 'COUNT', 1)
  local ends = call('ZRANGE', P .. 'ends', 0, 0, 'WITHSCORES')
  return { call('GET', P .. 'epoch'), call('GET', P .. 'number') or '0',
    first[1] and first[1][1] or '', ends[2] or '', now }
end

-- Sessions by id, as one JSON text: [[grant, mac, bytes, addresses], ...]. A client takes ten times as
-- long to parse 100,000 separate answers.
function ops.sessions(...)
  local found = {}
  for _, id in ipairs({ ... }) do
    local s = session(id)
    if s then
      found[#found + 1] = '[' .. s.grant .. ',"' .. s.mac .. '",' .. s.bytes .. ',"' .. s.addresses .. '"]'
    end
  end
  return '[' .. table.concat(found, ',') .. ']'
end

-- Vouchers as JSON, all values strings.
function ops.add_vouchers(text)
  local vouchers = cjson.decode(text)
  for _, v in ipairs(vouchers) do
    if call('EXISTS', P .. 'v:' .. v.digest) == 1 then return 0 end
  end
  for _, v in ipairs(vouchers) do
    call('HSET', P .. 'v:' .. v.digest, 'digest', v.digest, 'label', v.label, 'lifetime', v.lifetime,
      'limit', v.limit, 'uses', v.uses, 'expires', v.expires, 'created', v.created,
      'revoked', v.revoked, 'first', v.first, 'used', v.used)
    call('ZADD', P .. 'vouchers', v.created, v.digest)
  end
  return 1
end

local function shown(v)
  return { v.digest, v.label, v.lifetime, v.limit, v.uses, v.expires, v.created, v.revoked, v.first,
    tostring(call('SCARD', P .. 'd:' .. v.digest)), v.used }
end

function ops.vouchers()
  local found = {}
  for _, digest in ipairs(call('ZRANGE', P .. 'vouchers', 0, -1)) do
    found[#found + 1] = shown(voucher(digest))
  end
  return found
end

function ops.revoke(digest, label)
  local count = 0
  for _, each in ipairs(digest ~= '' and { digest } or call('ZRANGE', P .. 'vouchers', 0, -1)) do
    local v = voucher(each)
    if v and v.revoked ~= '1' and (digest ~= '' or v.label == label) then
      call('HSET', P .. 'v:' .. each, 'revoked', '1')
      finish_all(each, 'revoked')
      count = count + 1
    end
  end
  return count
end

function ops.redeem(digest, device)
  local v = voucher(digest)
  if not v or not redeemable(v) then return false end
  local devices = P .. 'd:' .. digest
  if call('SISMEMBER', devices, device) == 0 then
    if call('SCARD', devices) >= tonumber(v.uses) then return false end
    call('SADD', devices, device)
  end
  if v.first == '' then call('HSET', P .. 'v:' .. digest, 'first', now) end
  return shown(voucher(digest))
end

function ops.attempt(name, limit, milliseconds)
  local key = P .. 'attempt:' .. name
  local count = call('INCR', key)
  if count == 1 then call('PEXPIRE', key, milliseconds) end
  return count <= tonumber(limit) and 1 or 0
end

-- Pairs of name and count, as JSON.
function ops.count_destinations(most, text)
  local day = string.format('%d', math.floor(tonumber(now) / 86400))
  local key = P .. 'day:' .. day
  call('ZADD', P .. 'days', day, day)
  for _, each in ipairs(cjson.decode(text)) do
    local name = each[1]
    local known = call('ZSCORE', key, name)
    if not known and call('ZCARD', key) >= tonumber(most) then name = '' end
    call('ZINCRBY', key, each[2], name)
  end
end

local function forget_changes(before)
  while true do
    local first = call('XRANGE', P .. 'changes', '-', '+', 'COUNT', 1)[1]
    if not first then return end
    for i = 1, #first[2], 2 do
      if first[2][i] == 'at' and tonumber(first[2][i + 1]) >= before then return end
    end
    call('XDEL', P .. 'changes', first[1])
  end
end

function ops.purge(before, figures_before)
  local count = call('ZREMRANGEBYSCORE', P .. 'ended', '-inf', '(' .. before)
  for _, digest in ipairs(call('ZRANGE', P .. 'vouchers', 0, -1)) do
    local v = voucher(digest)
    local over = v.first ~= '' and tonumber(v.first) + tonumber(v.lifetime) or tonumber(v.expires)
    if over < tonumber(before) then
      call('DEL', P .. 'v:' .. digest, P .. 'd:' .. digest)
      call('ZREM', P .. 'vouchers', digest)
    end
  end
  for _, day in ipairs(call('ZRANGE', P .. 'days', 0, -1)) do
    if (tonumber(day) + 1) * 86400 <= tonumber(figures_before) then
      call('DEL', P .. 'day:' .. day)
      call('ZREM', P .. 'days', day)
    end
  end
  local seen = call('HGETALL', P .. 'gateways')
  for i = 1, #seen, 2 do
    if tonumber(seen[i + 1]) < tonumber(before) then
      -- The names of its counters are clients' addresses.
      call('HDEL', P .. 'gateways', seen[i])
      call('DEL', P .. 'counters:' .. seen[i], P .. 'batch:' .. seen[i])
    end
  end
  forget_changes(tonumber(before))
  return count
end

expire()
return ops[op](unpack(ARGV, 2))
