#!/bin/bash
# javac, and java with each collector, interpreted, and with the second compiler only
set -e
command -v javac >/dev/null || exit 77
cd $(mktemp -d)
cat > Work.java <<'J'
import java.util.*;
import java.util.concurrent.*;
import java.util.stream.*;

public class Work {
    static long fib(int n) { return n < 2 ? n : fib(n - 1) + fib(n - 2); }
    public static void main(String[] a) throws Exception {
        ExecutorService pool = Executors.newFixedThreadPool(4);
        List<Future<Long>> parts = new ArrayList<>();
        for (int i = 0; i < 8; i++) {
            final int n = i;
            parts.add(pool.submit(() -> {
                Map<String, byte[]> m = new HashMap<>();
                for (int j = 0; j < 20000; j++) m.put("k" + (j % 500), new byte[100 + (j + n) % 50]);
                return m.values().stream().mapToLong(b -> b.length).sum() + fib(18);
            }));
        }
        long sum = 0;
        for (Future<Long> p : parts) sum += p.get();
        pool.shutdown();
        int caught = 0;
        for (int i = 0; i < 1000; i++) {
            try { Object o = i % 2 == 0 ? null : "x"; o.hashCode(); } catch (NullPointerException e) { caught++; }
        }
        double pi = IntStream.range(0, 200000).parallel().mapToDouble(i -> 4.0 * (1 - 2 * (i & 1)) / (2 * i + 1)).sum();
        System.out.printf("%d %d %.4f%n", sum, caught, pi);
    }
}
J
javac Work.java
expected=$(java -Xint -XX:+UseSerialGC Work)
echo "$expected"
case $expected in *" 500 3.1416") ;; *) exit 1 ;; esac
for how in "" -XX:+UseSerialGC -XX:+UseParallelGC -XX:+UseG1GC "-XX:+UnlockExperimentalVMOptions -XX:+UseShenandoahGC" -XX:+UseZGC \
           "-XX:-TieredCompilation" "-XX:TieredStopAtLevel=1" "-Xcomp -XX:TieredStopAtLevel=1" "-Xmx64m -XX:+UseG1GC"; do
    if got=$(timeout 400 java $how Work 2>&1) && [ "$got" = "$expected" ]; then echo "ok: $how"; else
        case $got in *"not supported"*|*"Unrecognized VM option"*) echo "not in this JVM: $how" ;; *) echo "$how: $got"; exit 1 ;; esac
    fi
done
