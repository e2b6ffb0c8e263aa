// Put in front of a program: a timer's handler runs 10,000 times a second and leaves nothing in the registers as it was,
// which the program must not notice.
#pragma once
#include <math.h>
#include <signal.h>
#include <string.h>
#include <sys/time.h>

static volatile double interrupted_sum;
static void interrupted_handler(int sig) {
    unsigned x = (unsigned)sig;
    for (int i = 0; i < 20; i++) x = x * 1664525 + 1013904223;
    interrupted_sum = interrupted_sum * 0.5 + sqrt((double)x);
    char text[64];
    memset(text, (int)x, sizeof text);
    __asm__ volatile("" : : "r"(text) : "memory");
}
__attribute__((constructor)) static void interrupted_begin(void) {
    struct sigaction action;
    memset(&action, 0, sizeof action);
    action.sa_handler = interrupted_handler;
    action.sa_flags = SA_RESTART;
    sigaction(SIGALRM, &action, 0);
    const struct itimerval often = {{0, 100}, {0, 100}};
    setitimer(ITIMER_REAL, &often, 0);
}
