#!/bin/bash
# rustc -O of a program with threads, collections and panics
set -e
command -v rustc >/dev/null || exit 77
cd $(mktemp -d)
cat > main.rs <<'R'
use std::collections::{BTreeMap, HashMap};
use std::sync::{mpsc, Arc, Mutex};
use std::thread;
fn main() {
    let shared = Arc::new(Mutex::new(BTreeMap::new()));
    let (tx, rx) = mpsc::channel();
    let handles: Vec<_> = (0..8u64)
        .map(|n| {
            let (shared, tx) = (shared.clone(), tx.clone());
            thread::spawn(move || {
                let mut m = HashMap::new();
                for i in 0..5000u64 { *m.entry((i * i + n) % 97).or_insert(0u64) += i; }
                *shared.lock().unwrap().entry(n % 3).or_insert(0u64) += m.values().sum::<u64>();
                tx.send(m.len()).unwrap();
            })
        })
        .collect();
    for h in handles { h.join().unwrap(); }
    drop(tx);
    let sizes: usize = rx.iter().sum();
    let caught = std::panic::catch_unwind(|| { let v: Vec<i32> = vec![]; v[1] }).is_err();
    println!("{:?} {} {}", shared.lock().unwrap(), sizes > 0, caught);
}
R
rustc -O main.rs
test "$(./main 2>/dev/null)" = "{0: 37492500, 1: 37492500, 2: 24995000} true true"
