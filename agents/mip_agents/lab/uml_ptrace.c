/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * User Mode Linux sets the extended registers of its processes from a buffer that is
 * shorter than those of processors with AMX, which the kernel refuses. Loaded before
 * the C library (LD_PRELOAD), this fills the buffer up with what the registers hold.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdarg.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/uio.h>

#define XSTATE ((void *)0x202)

long ptrace(enum __ptrace_request request, ...)
{
	static long (*next)(enum __ptrace_request, ...);
	static _Alignas(64) char whole[65536];
	struct iovec all = { whole, sizeof(whole) }, *given;
	va_list list;
	int pid;
	void *address, *data;

	va_start(list, request);
	pid = va_arg(list, int);
	address = va_arg(list, void *);
	data = va_arg(list, void *);
	va_end(list);
	if (!next)
		next = dlsym(RTLD_NEXT, "ptrace");
	given = data;
	if (request == PTRACE_SETREGSET && address == XSTATE &&
	    next(PTRACE_GETREGSET, pid, address, &all) == 0 &&
	    all.iov_len > given->iov_len) {
		memcpy(whole, given->iov_base, given->iov_len);
		data = &all;
	}
	return next(request, pid, address, data);
}
