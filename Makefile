# All Paths Down: see README.md for what each target is for.

GO      ?= go
PROFILE ?=
LABELS  ?= !soak
# Stuck I/O has a cluster of its own: LABELS=stuck-io runs there, where nobody says otherwise.
LAB     ?= $(if $(filter stuck-io,$(LABELS)),hack/labs/ceph-timer.yaml,hack/labs/esxi.yaml,hack/labs/qemu-pvscsi.yaml,hack/labs/qemu-virtio.yaml)
OUT     ?= out
AGENTS  := drivers/guest/agent/binary/bin

# Static binaries: they can be carried into a lab without a toolchain.
export CGO_ENABLED = 0

.PHONY: run clusters targets test build setup lint soak bench screenshots clean

run: setup build
	@bin/apd run $(foreach l,$(subst $(comma), ,$(LAB)),--lab $(l)) --labels '$(LABELS)' --profile '$(PROFILE)' --out $(OUT)

comma := ,

build:
	@for os in linux windows; do GOOS=$$os GOARCH=amd64 $(GO) build -trimpath -ldflags '-s -w' \
		-o $(AGENTS)/agent-$$os-amd64 ./drivers/guest/agent/cmd/apd-agent || exit; done
	@$(GO) build -o bin/apd ./hack/apd
	@$(GO) test -c -o bin/suites.test ./suites

# Packages of the lab in a box; needs root or sudo only when some are missing.
setup:
	@hack/setup.sh $(if $(findstring ceph,$(LAB)),ceph)

lint:
	@test -z "$$(gofmt -l .)" || { echo "not gofmt-ed:"; gofmt -l .; exit 1; }
	$(GO) vet ./...
	$(GO) tool staticcheck ./...

# The race detector needs cgo. What is short in a short run is whole in the second one. Three packages at once, on two cores too: they
# wait more than they work (7:40 instead of 12 minutes, measured).
test: lint
	@hack/setup.sh test
	CGO_ENABLED=1 $(GO) test -race -short -p 3 -timeout 20m ./...
	$(GO) test ./suites/all ./reports
	$(GO) test -run InABrowser ./hack/apd

# Forty outages under load: no guest's abort may freeze its machine, nothing acknowledged may be lost.
soak: LAB = hack/labs/esxi.yaml
soak: LABELS = soak
soak: run

# The same faults on Ceph as it comes, and on Ceph with an I/O timer.
clusters: LAB = hack/labs/ceph.yaml,hack/labs/ceph-timer.yaml
clusters: LABELS = stuck-io
clusters: setup build
	@bin/apd run --in-turn $(foreach l,$(subst $(comma), ,$(LAB)),--lab $(l)) --labels '$(LABELS)' --out $(OUT)

# Three NAS side by side: what does not depend on the host, with a NAS that really reboots and loses its power.
targets: LAB = hack/labs/esxi-istgt.yaml,hack/labs/esxi-nas-vm.yaml,hack/labs/esxi-tgt.yaml
targets: LABELS = !soak && (scenario:brief-outage || scenario:target-reboot || scenario:target-power-cut || scenario:login-reject || scenario:repeated)
targets: setup build
	@bin/apd run --in-turn $(foreach l,$(subst $(comma), ,$(LAB)),--lab $(l)) --labels '$(LABELS)' --out $(OUT)

# The path's proxy beside toxiproxy, a plain copy and no proxy at all, in one run of four minutes. What is missing is left out.
bench:
	@hack/setup.sh bench || true
	$(GO) run ./hack/bench

# Pictures of each tape's report.html, light, dark, at 400 px, without scripts and as Jenkins serves it; RUN=FOLDER: of that run's.
screenshots:
	@hack/setup.sh test
	APD_SCREENSHOTS=$(abspath $(OUT))/screenshots APD_RUN=$(abspath $(RUN)) $(GO) test -count=1 -run Screenshots ./reports
	@echo "in $(OUT)/screenshots"

clean:
	rm -rf bin $(OUT)
