#define _GNU_SOURCE
#include "CThreads.h"

#include <signal.h>
#include <string.h>
#include <time.h>

static volatile sig_atomic_t caught = 0;
static volatile time_t patience = 0;
static volatile time_t first = 0;

static time_t now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec;
}

/* Calls only what may be called in a signal handler. */
static void mark(int number) {
    if (!caught) {
        first = now();
        caught = number;
    } else if (now() - first >= patience) {
        signal(number, SIG_DFL);
        raise(number);
    }
}

void lorikeet_catch_signals(int seconds) {
    patience = seconds;
    struct sigaction action;
    memset(&action, 0, sizeof action);
    action.sa_handler = mark;
    action.sa_flags = SA_RESTART;
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    // Whoever started this process may have had them blocked, and it inherits that.
    sigset_t both;
    sigemptyset(&both);
    sigaddset(&both, SIGINT);
    sigaddset(&both, SIGTERM);
    pthread_sigmask(SIG_UNBLOCK, &both, NULL);
}

void lorikeet_release_signals(void) {
    signal(SIGINT, SIG_DFL);
    signal(SIGTERM, SIG_DFL);
    caught = 0;
}

int lorikeet_caught_signal(void) { return caught; }
