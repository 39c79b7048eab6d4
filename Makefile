# All Paths Down: see README.md for what each target is for.

GO      ?= go
PROFILE ?=
LABELS  ?= !soak
LAB     ?= hack/labs/esxi.yaml,hack/labs/qemu-pvscsi.yaml,hack/labs/qemu-virtio.yaml
OUT     ?= out
AGENT   := drivers/guest/agent/binary/bin/agent-linux-amd64

# Static binaries: they can be carried into a lab without a toolchain.
export CGO_ENABLED = 0

.PHONY: run test build setup lint soak bench clean

run: setup build
	@bin/apd run $(foreach l,$(subst $(comma), ,$(LAB)),--lab $(l)) --labels '$(LABELS)' --profile '$(PROFILE)' --out $(OUT)

comma := ,

build:
	@$(GO) build -trimpath -ldflags '-s -w' -o $(AGENT) ./drivers/guest/agent/cmd/apd-agent
	@$(GO) build -o bin/apd ./hack/apd
	@$(GO) test -c -o bin/suites.test ./suites

# Packages of the lab in a box; needs root or sudo only when some are missing.
setup:
	@hack/setup.sh

lint:
	@test -z "$$(gofmt -l .)" || { echo "not gofmt-ed:"; gofmt -l .; exit 1; }
	$(GO) vet ./...
	$(GO) tool staticcheck ./...

# The race detector needs cgo.
test: lint
	@hack/setup.sh test
	CGO_ENABLED=1 $(GO) test -race -timeout 20m ./...

# Forty outages under load: no guest's abort may freeze its machine, nothing acknowledged may be lost.
soak: LAB = hack/labs/esxi.yaml
soak: LABELS = soak
soak: run

# The path's proxy beside toxiproxy, a plain copy and no proxy at all, in one run of four minutes. What is missing is left out.
bench:
	@hack/setup.sh bench || true
	$(GO) run ./hack/bench

clean:
	rm -rf bin $(OUT)
