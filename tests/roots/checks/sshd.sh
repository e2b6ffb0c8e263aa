#!/bin/bash
# sshd on loopback with its seccomp sandbox: login by key, a command, a copy
# network: none
set -e
command -v sshd >/dev/null || [ -x /usr/sbin/sshd ] || exit 77
d=$(mktemp -d); chmod 755 $d; mkdir -p /run/sshd
ssh-keygen -q -t ed25519 -N '' -f $d/host; ssh-keygen -q -t ed25519 -N '' -f $d/key
mkdir -p ~/.ssh; chmod 700 ~/.ssh; cp $d/key.pub ~/.ssh/authorized_keys; chmod 600 ~/.ssh/authorized_keys
/usr/sbin/sshd -p 2222 -h $d/host -o ListenAddress=127.0.0.1 -o PermitRootLogin=yes -o PidFile=$d/pid -o UsePAM=no -E $d/log
for i in $(seq 50); do [ -s $d/pid ] && break; sleep 0.1; done
S="-q -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o BatchMode=yes -i $d/key"
for i in 1 2 3; do
    test "$(timeout 60 ssh $S -p 2222 root@127.0.0.1 'echo $((6*7)); uname -m' | tr '\n' ' ')" = "42 $(uname -m) " || { cat $d/log; exit 1; }
done
head -c 300000 /dev/urandom > $d/a; timeout 60 scp $S -P 2222 $d/a root@127.0.0.1:$d/b; cmp $d/a $d/b
timeout 60 ssh $S -tt -p 2222 root@127.0.0.1 tty | grep -q /dev/pts
kill $(cat $d/pid)
