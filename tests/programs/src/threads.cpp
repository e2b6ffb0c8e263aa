// Threads of the C++ library: mutexes, condition variables, futures, thread-local state, once-flags, many short lives.
#include <atomic>
#include <condition_variable>
#include <cstdio>
#include <future>
#include <mutex>
#include <numeric>
#include <queue>
#include <shared_mutex>
#include <thread>
#include <vector>

namespace {
thread_local int depth = 5;
thread_local std::vector<int> trail;
int touch(int n) {
    depth += n;
    trail.push_back(depth);
    return std::accumulate(trail.begin(), trail.end(), 0);
}
struct Queue {
    std::mutex mutex;
    std::condition_variable ready;
    std::queue<int> items;
    void push(int i) {
        { std::lock_guard lock(mutex); items.push(i); }
        ready.notify_one();
    }
    int pop() {
        std::unique_lock lock(mutex);
        ready.wait(lock, [&] { return !items.empty(); });
        const int i = items.front();
        items.pop();
        return i;
    }
};
}  // namespace

int main() {
    Queue to, from;
    std::vector<std::thread> workers;
    for (int t = 0; t < 4; ++t)
        workers.emplace_back([&] {
            for (int i; (i = to.pop()) >= 0;) from.push(i * i);
        });
    for (int i = 0; i < 2000; ++i) to.push(i);
    long sum = 0;
    for (int i = 0; i < 2000; ++i) sum += from.pop();
    for (int t = 0; t < 4; ++t) to.push(-1);
    for (auto& w : workers) w.join();
    std::printf("squares %ld\n", sum);

    std::once_flag once;
    std::atomic<int> calls{0}, locals{0};
    std::shared_mutex shared;
    long guarded = 0;
    workers.clear();
    for (int t = 0; t < 8; ++t)
        workers.emplace_back([&, t] {
            std::call_once(once, [&] { ++calls; });
            for (int i = 0; i < 500; ++i) {
                if (i % 10 == 0) { std::unique_lock lock(shared); guarded += t; }
                else { std::shared_lock lock(shared); if (guarded < 0) std::abort(); }
            }
            locals += touch(t) + touch(1);
        });
    for (auto& w : workers) w.join();
    std::printf("once %d guarded %ld locals %d mine %d\n", calls.load(), guarded, locals.load(), touch(0));

    int total = 0;
    for (int round = 0; round < 100; ++round) {
        std::vector<std::future<int>> futures;
        for (int t = 0; t < 4; ++t) futures.push_back(std::async(std::launch::async, [=] { return touch(t) * round; }));
        for (auto& f : futures) total += f.get();
    }
    std::printf("futures %d\n", total);

    std::promise<int> promise;
    std::thread late([&] { std::this_thread::sleep_for(std::chrono::milliseconds(20)); promise.set_value(9); });
    std::printf("promise %d\n", promise.get_future().get());
    late.join();
    std::timed_mutex timed;
    timed.lock();
    bool got = true;
    std::thread([&] { got = timed.try_lock_for(std::chrono::milliseconds(30)); }).join();
    std::printf("timed %d\n", got);
    return 0;
}
