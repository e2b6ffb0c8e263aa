#!/bin/bash
# go build of gofmt, go vet and go test of packages of the standard library
set -e
command -v go >/dev/null || exit 77
export GOCACHE=/var/tmp/go-cache GOFLAGS=-mod=mod
cd "$(go env GOROOT)/src"
GOFLAGS= go build -o /tmp/gofmt cmd/gofmt
/tmp/gofmt -l strconv/*.go
GOFLAGS= go vet strings bufio sort strconv
GOFLAGS= go test -short sort strings bufio container/... os/signal sync
