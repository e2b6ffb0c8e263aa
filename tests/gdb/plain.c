// The gdb stub's guest for breakpoints, watchpoints, steps and registers.
#include <signal.h>
#include <stdio.h>
#include <string.h>

int counter;
volatile int watched;
volatile char block[64];
double number = 2.5;
volatile sig_atomic_t signals_seen;

static void on_signal(int sig) { signals_seen += sig; }

__attribute__((noinline)) int add(int a, int b) {
    counter++;
    return a + b;
}

__attribute__((noinline)) int work(int n) {
    volatile int sum = 0;  // on the stack
    for (int i = 0; i < n; i++) {
        sum = add(sum, i);
        if (i == 3) watched = sum;
    }
    return sum;
}

__attribute__((noinline)) void fill(void) {
    memset((void*)block, 'x', sizeof block);
    block[40] = 'y';
}

__attribute__((noinline)) int peek(void) { return watched + 1; }

int main(void) {
    signal(SIGUSR1, on_signal);
    printf("work %d\n", work(5));
    fflush(stdout);
    watched = 7;
    printf("peek %d\n", peek());
    fill();
    number = number * 3;
    raise(SIGUSR1);
    printf("number %g signals %d\n", number, (int)signals_seen);
    return 3;
}
