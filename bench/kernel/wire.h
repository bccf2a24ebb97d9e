/* SPDX-License-Identifier: MIT */
/* What the bench's client and server agree on. */
#ifndef WIRE_H
#define WIRE_H

#include <stdio.h>
#include <stdlib.h>

#define REQUEST_PORT 8080 /* answers a request, then closes */
#define SINK_PORT 8081	  /* reads to the end, then says how many bytes came */
#define REPORT_PORT 8082  /* says what came since the last report */

/* Ends with what no header ends with, so that the server need not know who writes what before it. */
#define REQUEST_SIZE 128
#define REQUEST_END "request\n"
#define HTTP_REQUEST "GET / HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n"
#define ANSWER_SIZE 256
#define HEADER_MAX 128

#define die(what) (perror(what), exit(2))

#endif
