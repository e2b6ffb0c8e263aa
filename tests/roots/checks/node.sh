#!/bin/bash
# node with worker threads, child processes, wasm, crypto; npm install of typescript and esbuild, and their use
set -e
command -v node >/dev/null || exit 77
cd $(mktemp -d)
cat > workers.js <<'J'
const { Worker, isMainThread, parentPort, workerData } = require('worker_threads');
if (!isMainThread) {
    let x = workerData;
    for (let i = 0; i < 300000; i++) x = (x * 1103515245 + 12345) % 2147483648;
    parentPort.postMessage(x);
} else {
    const out = [];
    let left = 4;
    for (let i = 0; i < 4; i++) new Worker(__filename, { workerData: i }).on('message', m => { out[i] = m; if (--left === 0) {
        const { execFileSync } = require('child_process');
        const hash = require('crypto').createHash('sha256').update('abc').digest('hex').slice(0, 8);
        console.log(out.every(n => n >= 0), execFileSync('echo', ['child']).toString().trim(), hash, JSON.stringify([..."añ€"].map(c => c.codePointAt(0))));
    } });
}
J
for i in 1 2 3; do test "$(timeout 120 node workers.js)" = "true child ba7816bf [97,241,8364]"; done
always=--always-turbofan  # its name since V8 11
node --always-opt -e 0 2> /dev/null && always=--always-opt
for flags in --jitless "--max-lazy $always" --interpreted-frames-native-stack; do timeout 300 node $flags -e 'let s=0; for (let i=0;i<100000;i++) s+=i%7; if (s!==299995) process.exit(1)' || { echo "node $flags failed"; exit 1; }; done
command -v npm >/dev/null || exit 0
npm --version
npm init -y >/dev/null
timeout 900 npm install --no-audit --no-fund typescript@5.4 esbuild@0.20 || { echo "npm install failed"; exit 1; }
echo 'const f = (n: number): number => n < 2 ? n : f(n - 1) + f(n - 2); console.log(f(15));' > a.ts
npx tsc --outDir out a.ts; test "$(node out/a.js)" = 610
npx esbuild a.ts --bundle --minify --outfile=b.js; test "$(node b.js)" = 610
