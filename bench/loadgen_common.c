// SPDX-License-Identifier: MIT
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "loadgen_common.h"

void die(const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	fputs("loadgen: ", stderr);
	vfprintf(stderr, format, arguments);
	fputc('\n', stderr);
	va_end(arguments);
	exit(2);
}

void *allocate(size_t size)
{
	void *memory = malloc(size);

	if (!memory)
		die("out of memory (%zu bytes)", size);
	return memory;
}
