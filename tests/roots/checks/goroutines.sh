#!/bin/bash
# 1,000 goroutines that never yield, with preemption and garbage collection: 30 runs
set -e
command -v go >/dev/null || exit 77
cd $(mktemp -d); export GOCACHE=/var/tmp/go-cache GOFLAGS=-mod=mod
cat > main.go <<'G'
package main

import (
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"time"
)

func main() {
	runtime.GOMAXPROCS(4)
	var sum, stop int64
	var wg sync.WaitGroup
	for i := 0; i < 1000; i++ {
		wg.Add(1)
		go func(n int) {
			defer wg.Done()
			buf := make([]byte, 0, 16)
			x := uint64(n)
			for j := 0; j < 20000; j++ {
				x = x*6364136223846793005 + 1442695040888963407
				if j%1000 == 0 {
					buf = append(buf, byte(x))
				}
			}
			atomic.AddInt64(&sum, int64(len(buf)))
		}(i)
	}
	// Spins without a call: only a signal gets it off the processor.
	for i := 0; i < 4; i++ {
		go func() {
			for atomic.LoadInt64(&stop) == 0 {
			}
		}()
	}
	ticks := 0
	done := make(chan bool)
	go func() { wg.Wait(); done <- true }()
	for {
		select {
		case <-done:
			atomic.StoreInt64(&stop, 1)
			runtime.GC()
			fmt.Println(sum, ticks >= 0)
			return
		case <-time.After(time.Millisecond):
			ticks++
		}
	}
}
G
go mod init preempt 2>/dev/null
go build -o preempt .
for i in $(seq 30); do test "$(timeout 120 ./preempt)" = "20000 true" || { echo "run $i failed"; exit 1; }; done
