// SPDX-License-Identifier: MIT
/*
 * The bytes that a connection sends, prepared before the run: requests without an origin, after a
 * PROXY protocol header, or in frames.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "loadgen_common.h"
#include "loadgen_output.h"

/* ctframe: address, port and length before each piece. */
#define FRAME_HEADER 8

/* PROXY protocol (haproxy's proxy-protocol.txt): v1's longest line; v2's fixed part, IPv4 block. */
#define PROXY_V1_MAX 108
#define PROXY_V2_FIXED 16
#define PROXY_V2_IPV4 12
#define HEADER_FILE_MAX 4096

/* The client's address in the header, of TEST-NET-1 (RFC 5737). */
#define CLIENT_HOST "192.0.2.7"
#define CLIENT_PORT 51234

static struct buffer http_request(const struct options *options)
{
	static const char layout[] = "%s %s HTTP/1.1\r\n"
				     "Host: 127.0.0.1\r\n"
				     "User-Agent: Mozilla/5.0 (X11; Linux x86_64)\r\n"
				     "Accept: */*\r\n"
				     "%s%s\r\n";
	const char *connection = options->keep_alive ? "" : "Connection: close\r\n";
	char length[64] = "";
	struct buffer request;
	int head;

	if (options->body)
		snprintf(length, sizeof(length), "Content-Length: %zu\r\n", options->body);
	head = snprintf(NULL, 0, layout, options->body ? "POST" : "GET", options->path, connection,
			length);
	request.length = (size_t)head + options->body;
	request.bytes = allocate(request.length + 1);
	sprintf(request.bytes, layout, options->body ? "POST" : "GET", options->path, connection,
		length);
	memset(request.bytes + head, 'x', options->body);
	return request;
}

/*
 * Frames divide the whole request. An injector does not know HTTP, so a frame may hold the end of
 * the head and the start of the body.
 */
static struct buffer in_frames(const struct options *options, const struct buffer *plain)
{
	size_t frames = (plain->length + options->frame_size - 1) / options->frame_size;
	uint16_t port = ntohs(options->destination.sin_port);
	struct buffer framed;
	size_t done = 0;
	char *out;

	framed.length = plain->length + frames * FRAME_HEADER;
	framed.bytes = out = allocate(framed.length);
	while (done < plain->length) {
		size_t left = plain->length - done;
		size_t piece = left < options->frame_size ? left : options->frame_size;

		memcpy(out, &options->destination.sin_addr, 4);
		/* Port and length are little-endian in this format, on every host. */
		out[4] = (char)(port & 0xff);
		out[5] = (char)(port >> 8);
		out[6] = (char)(piece & 0xff);
		out[7] = (char)(piece >> 8);
		memcpy(out + FRAME_HEADER, plain->bytes + done, piece);
		out += FRAME_HEADER + piece;
		done += piece;
	}
	return framed;
}

static struct buffer proxy_v1(const struct options *options)
{
	struct buffer header = { allocate(PROXY_V1_MAX), 0 };

	header.length = (size_t)snprintf(header.bytes, PROXY_V1_MAX, "PROXY TCP4 %s %s %d %d\r\n",
					 CLIENT_HOST, inet_ntoa(options->destination.sin_addr),
					 CLIENT_PORT, ntohs(options->destination.sin_port));
	return header;
}

static struct buffer proxy_v2(const struct options *options)
{
	/* Signature, version 2 with PROXY, IPv4 with STREAM, the length of the address block. */
	static const unsigned char fixed[PROXY_V2_FIXED] = {
		0x0d, 0x0a, 0x0d, 0x0a, 0x00, 0x0d, 0x0a, 0x51,
		0x55, 0x49, 0x54, 0x0a, 0x21, 0x11, 0x00, PROXY_V2_IPV4,
	};
	struct buffer header = { allocate(PROXY_V2_FIXED + PROXY_V2_IPV4),
				 PROXY_V2_FIXED + PROXY_V2_IPV4 };
	char *block = header.bytes + PROXY_V2_FIXED;
	uint32_t client = inet_addr(CLIENT_HOST);
	uint16_t port = htons(CLIENT_PORT);

	memcpy(header.bytes, fixed, PROXY_V2_FIXED);
	memcpy(block, &client, 4);
	memcpy(block + 4, &options->destination.sin_addr, 4);
	memcpy(block + 8, &port, 2);
	memcpy(block + 10, &options->destination.sin_port, 2);
	return header;
}

static struct buffer from_file(const char *path)
{
	struct buffer header = { allocate(HEADER_FILE_MAX + 1), 0 };
	FILE *file = fopen(path, "rb");

	if (!file)
		die("%s: %s", path, strerror(errno));
	header.length = fread(header.bytes, 1, HEADER_FILE_MAX + 1, file);
	fclose(file);
	if (!header.length || header.length > HEADER_FILE_MAX)
		die("%s: a header has 1 to %d bytes", path, HEADER_FILE_MAX);
	return header;
}

static struct buffer joined(const struct buffer *header, const struct buffer *request)
{
	struct buffer both = { allocate(header->length + request->length),
			       header->length + request->length };

	memcpy(both.bytes, header->bytes, header->length);
	memcpy(both.bytes + header->length, request->bytes, request->length);
	return both;
}

struct output make_output(const struct options *options)
{
	struct buffer request = http_request(options);
	struct output output = { request, request };
	struct buffer header = { NULL, 0 };

	if (options->format == FORMAT_CTFRAME) {
		output.first = output.next = in_frames(options, &request);
		free(request.bytes);
		return output;
	}
	if (options->header_file)
		header = from_file(options->header_file);
	else if (options->format == FORMAT_PROXY_V1)
		header = proxy_v1(options);
	else if (options->format == FORMAT_PROXY_V2)
		header = proxy_v2(options);
	if (header.length)
		output.first = joined(&header, &request);
	free(header.bytes);
	return output;
}

void free_output(struct output *output)
{
	if (output->first.bytes != output->next.bytes)
		free(output->first.bytes);
	free(output->next.bytes);
}
