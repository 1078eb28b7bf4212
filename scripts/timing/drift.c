// SPDX-License-Identifier: MPL-2.0
/* Makes the monotonic clock of a process run at another speed, for LD_PRELOAD:
 * DRIFT_PPM parts per million faster from DRIFT_ANCHOR on (seconds on that clock). */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <time.h>

typedef int (*clock_gettime_t)(clockid_t, struct timespec *);

static clock_gettime_t real;
static double ppm, anchor;

__attribute__((constructor)) static void prepare(void) {
  const char *speed = getenv("DRIFT_PPM"), *from = getenv("DRIFT_ANCHOR");
  real = (clock_gettime_t)dlsym(RTLD_NEXT, "clock_gettime");
  ppm = speed ? atof(speed) : 0.0;
  anchor = from ? atof(from) : 0.0;
}

int clock_gettime(clockid_t clock, struct timespec *time) {
  if (!real)
    prepare();
  int result = real(clock, time);
  if (result == 0 && clock == CLOCK_MONOTONIC) {
    double elapsed = (double)time->tv_sec - anchor + (double)time->tv_nsec * 1e-9;
    long ns = time->tv_nsec + (long)(elapsed * ppm * 1e3);
    time->tv_sec += ns / 1000000000;
    time->tv_nsec = ns % 1000000000;
    if (time->tv_nsec < 0) {
      time->tv_nsec += 1000000000;
      time->tv_sec -= 1;
    }
  }
  return result;
}
