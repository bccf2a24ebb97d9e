/* SPDX-License-Identifier: MIT */
/* Ports and sizes that the bench's client and server share. */
#ifndef WIRE_H
#define WIRE_H

#include <stdio.h>
#include <stdlib.h>

#define REQUEST_PORT 8080 /* answers a request, then closes */
#define SINK_PORT 8081	  /* reads to the end, then sends the number of bytes */
#define REPORT_PORT 8082  /* sends a report about the time since the last one */

/*
 * A request ends with REQUEST_END. No header of a connection ends with it, so the server finds the
 * end of the first request without knowing the header's format.
 */
#define REQUEST_SIZE 128
#define REQUEST_END "request\n"
#define HTTP_REQUEST "GET / HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n"
#define ANSWER_SIZE 256
#define HEADER_MAX 128

#define die(what) (perror(what), exit(2))

#endif
