/* A disk that is full from the REVENANT_FULL_DISK_AT-th call on: write, fsync (of folders too), rename, mkdir and
   opening for writing fail with ENOSPC, but for what is no file on a disk (pipes, terminals).
   Loaded with LD_PRELOAD. What the call was is said on stderr, once. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>

static atomic_long calls;

static int is_full(const char* what) {
  const char* at = getenv("REVENANT_FULL_DISK_AT");
  if (!at) return 0;
  const long first = atol(at), call = atomic_fetch_add(&calls, 1) + 1;
  if (call < first) return 0;
  if (call == first) {
    char text[64];
    const int length = snprintf(text, sizeof text, "full disk: call %ld, %s\n", call, what);
    static ssize_t (*real)(int, const void*, size_t);
    if (!real) real = dlsym(RTLD_NEXT, "write");
    real(2, text, (size_t)length);
  }
  errno = ENOSPC;
  return 1;
}

static int on_disk(int fd) {
  struct stat info;
  return fstat(fd, &info) == 0 && S_ISREG(info.st_mode);
}

ssize_t write(int fd, const void* data, size_t size) {
  static ssize_t (*real)(int, const void*, size_t);
  if (!real) real = dlsym(RTLD_NEXT, "write");
  if (on_disk(fd) && is_full("write")) return -1;
  return real(fd, data, size);
}

int fsync(int fd) {
  static int (*real)(int);
  if (!real) real = dlsym(RTLD_NEXT, "fsync");
  struct stat info;
  const int kept = fstat(fd, &info) == 0 && (S_ISREG(info.st_mode) || S_ISDIR(info.st_mode));
  return kept && is_full("fsync") ? -1 : real(fd);
}

int rename(const char* from, const char* to) {
  static int (*real)(const char*, const char*);
  if (!real) real = dlsym(RTLD_NEXT, "rename");
  return is_full("rename") ? -1 : real(from, to);
}

int mkdir(const char* path, mode_t mode) {
  static int (*real)(const char*, mode_t);
  if (!real) real = dlsym(RTLD_NEXT, "mkdir");
  return is_full("mkdir") ? -1 : real(path, mode);
}

static int open_as(const char* name, const char* path, int flags, mode_t mode) {
  int (*real)(const char*, int, ...) = dlsym(RTLD_NEXT, name);
  if ((flags & O_CREAT) && strncmp(path, "/dev/", 5) != 0 && is_full("open")) return -1;
  return real(path, flags, mode);
}

int open(const char* path, int flags, ...) {
  va_list rest;
  va_start(rest, flags);
  const mode_t mode = flags & O_CREAT ? va_arg(rest, mode_t) : 0;
  va_end(rest);
  return open_as("open", path, flags, mode);
}

int open64(const char* path, int flags, ...) {
  va_list rest;
  va_start(rest, flags);
  const mode_t mode = flags & O_CREAT ? va_arg(rest, mode_t) : 0;
  va_end(rest);
  return open_as("open64", path, flags, mode);
}
