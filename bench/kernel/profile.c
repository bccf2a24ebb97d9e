// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * A plugin for QEMU that counts instructions by address, between two marks in the guest's code.
 *
 *	-plugin profile.so,out=PREFIX
 *
 * A mark is `xchg %bx,%bx`, which does nothing and which no compiler emits. The first mark starts
 * the count, the second one writes it to PREFIX.0, and so on with PREFIX.1, ... A line is the
 * hexadecimal address of a block of code, and the number of instructions executed in it. The counting
 * does not change what the guest does.
 *
 * Debian does not package QEMU's qemu-plugin.h, so the parts of version 1 in use are declared here.
 */
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define API __attribute__((visibility("default")))

typedef uint64_t plugin_id;
struct qemu_plugin_tb;
struct qemu_plugin_insn;

void qemu_plugin_register_vcpu_tb_trans_cb(plugin_id id,
					   void (*call)(plugin_id, struct qemu_plugin_tb *));
void qemu_plugin_register_vcpu_tb_exec_inline(struct qemu_plugin_tb *tb, int op, void *counter,
					      uint64_t add);
void qemu_plugin_register_vcpu_insn_exec_cb(struct qemu_plugin_insn *insn,
					    void (*call)(unsigned int, void *), int flags,
					    void *data);
size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *tb);
struct qemu_plugin_insn *qemu_plugin_tb_get_insn(const struct qemu_plugin_tb *tb, size_t index);
uint64_t qemu_plugin_tb_vaddr(const struct qemu_plugin_tb *tb);
const void *qemu_plugin_insn_data(const struct qemu_plugin_insn *insn);
size_t qemu_plugin_insn_size(const struct qemu_plugin_insn *insn);

enum { INLINE_ADD = 0, NO_REGISTERS = 0 };

#define SLOTS (1 << 22)

static struct slot {
	uint64_t address, count;
} slots[SLOTS];

static const char *prefix;
static bool counting;
static int written;

/* Never moved, since translated code has its address. Only one thread executes guest code. */
static struct slot *slot_of(uint64_t address)
{
	uint64_t i = address * 0x9e3779b97f4a7c15 >> 42;

	while (slots[i].address && slots[i].address != address)
		i = (i + 1) % SLOTS;
	slots[i].address = address;
	return &slots[i];
}

static void write_counts(void)
{
	char path[4096];
	FILE *file;

	snprintf(path, sizeof(path), "%s.%d", prefix, written++);
	file = fopen(path, "w");
	if (!file) {
		perror(path);
		exit(1);
	}
	for (size_t i = 0; i < SLOTS; i++)
		if (slots[i].count)
			fprintf(file, "%lx %lu\n", slots[i].address, slots[i].count);
	fclose(file);
}

static void on_mark(unsigned int processor, void *data)
{
	(void)processor;
	(void)data;
	if (counting)
		write_counts();
	counting = !counting;
	for (size_t i = 0; i < SLOTS; i++)
		slots[i].count = 0;
}

static bool is_mark(const struct qemu_plugin_insn *insn)
{
	return qemu_plugin_insn_size(insn) == 3 &&
	       !memcmp(qemu_plugin_insn_data(insn), "\x66\x87\xdb", 3);
}

static void on_translation(plugin_id id, struct qemu_plugin_tb *tb)
{
	size_t count = qemu_plugin_tb_n_insns(tb);

	(void)id;
	qemu_plugin_register_vcpu_tb_exec_inline(tb, INLINE_ADD,
						 &slot_of(qemu_plugin_tb_vaddr(tb))->count, count);
	for (size_t i = 0; i < count; i++) {
		struct qemu_plugin_insn *insn = qemu_plugin_tb_get_insn(tb, i);

		if (is_mark(insn))
			qemu_plugin_register_vcpu_insn_exec_cb(insn, on_mark, NO_REGISTERS, NULL);
	}
}

API int qemu_plugin_version = 1;

API int qemu_plugin_install(plugin_id id, const void *info, int argc, char **argv)
{
	(void)info;
	if (argc != 1 || strncmp(argv[0], "out=", 4))
		return -1;
	prefix = strdup(argv[0] + 4);
	qemu_plugin_register_vcpu_tb_trans_cb(id, on_translation);
	return 0;
}
