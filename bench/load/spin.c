/* Makes wrk wait for answers without sleeping, as the generator of the open loop does. Preloaded.
 *
 * A client that sleeps has to be woken, and the kernel charges that to whoever sends the answer: to the service. The slower a
 * service is than wrk, the more often wrk sleeps; and whatever else runs on wrk's core, as the receiver does, makes each
 * wake-up dearer. None of it is what the service does, and no service pays it for a client on another machine. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <sys/epoll.h>
#include <time.h>

typedef int wait_function(int, struct epoll_event *, int, int);

static long long milliseconds(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return now.tv_sec * 1000LL + now.tv_nsec / 1000000;
}

int epoll_wait(int epoll, struct epoll_event *events, int room, int timeout) {
  static wait_function *look;
  if (!look && !(look = (wait_function *)dlsym(RTLD_NEXT, "epoll_wait"))) {
    errno = ENOSYS;
    return -1;
  }
  long long until = milliseconds() + timeout;
  for (;;) {
    int found = look(epoll, events, room, 0);
    if (found != 0 || (timeout >= 0 && milliseconds() >= until)) return found;
  }
}
