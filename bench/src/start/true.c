// The shortest program: what remains is the cost of starting.
int main(void) { return 0; }
