#define _GNU_SOURCE
#include "CThreads.h"

#include <signal.h>
#include <string.h>

static volatile sig_atomic_t caught = 0;

static void mark(int number) { caught = number; }

void lorikeet_catch_signals(void) {
    struct sigaction action;
    memset(&action, 0, sizeof action);
    action.sa_handler = mark;
    action.sa_flags = SA_RESTART | SA_RESETHAND;
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
