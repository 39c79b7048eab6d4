#!/bin/sh
# Installs the Debian packages that the lab in a box needs, if any is missing; with the argument "test" also the programs that
# this project's own tests use as peers, with "ceph" those of the cluster in a box; with "bench" only what the benchmark of the path needs. Everything else runs without root.
set -eu
missing=""
need() { # need PACKAGE FILE...
	package=$1
	shift
	for file; do
		[ -e "$file" ] && return 0
	done
	missing="$missing $package"
}
need tgt /usr/sbin/tgtd
what="The lab in a box"
otherwise="Nothing was started."
if [ "${1:-}" = bench ]; then
	what="The benchmark"
	otherwise="What cannot be built or started is left out."
	need socat /usr/bin/socat
	need gcc /usr/bin/cc
	need libc6-dev /usr/include/stdio.h
else
	need qemu-system-x86 /usr/bin/qemu-system-x86_64
	need qemu-block-extra /usr/lib/x86_64-linux-gnu/qemu/block-iscsi.so /usr/lib/qemu/block-iscsi.so
	need xfsprogs /usr/sbin/mkfs.xfs /sbin/mkfs.xfs
	need mmdebstrap /usr/bin/mmdebstrap
	need e2fsprogs /usr/sbin/mke2fs /sbin/mke2fs
fi
if [ "${1:-}" = ceph ]; then
	what="The cluster in a box"
	need ceph-mon /usr/bin/ceph-mon
	need ceph-mgr /usr/bin/ceph-mgr
	need ceph-osd /usr/bin/ceph-osd
	need ceph-common /usr/bin/ceph
	need tgt-rbd /usr/lib/tgt/backing-store/bs_rbd.so
fi
if [ "${1:-}" = ceph ] || [ "${1:-}" = test ]; then
	need nbdkit /usr/bin/nbdkit
	need libnbd-bin /usr/bin/nbdfuse
	need fuse3 /usr/bin/fusermount3
fi
if [ "${1:-}" = test ]; then
	need libiscsi-bin /usr/bin/iscsi-test-cu
	need qemu-utils /usr/bin/qemu-img
	need libxml2-utils /usr/bin/xmllint
	need prometheus /usr/bin/promtool
	need python3-prometheus-client /usr/lib/python3/dist-packages/prometheus_client/openmetrics/parser.py
	need istgt /usr/sbin/istgt
	need iproute2 /usr/sbin/ip /sbin/ip
	need nftables /usr/sbin/nft
	need snmpd /usr/sbin/snmpd
	need openipmi /usr/bin/ipmi_sim
	need wine /usr/bin/wine
	need wine64 /usr/lib/wine/wine64
	need freerdp2-x11 /usr/bin/xfreerdp
	need freerdp2-shadow-x11 /usr/bin/freerdp-shadow-cli
	need xvfb /usr/bin/Xvfb
	need xrdp /usr/sbin/xrdp
	need xorgxrdp /usr/lib/xorg/modules/drivers/xrdpdev_drv.so
	need openssl /usr/bin/openssl
	need chromium /usr/bin/chromium
	need tesseract-ocr /usr/bin/tesseract
	need util-linux /sbin/losetup /usr/sbin/losetup
	need tmux /usr/bin/tmux
fi
[ -n "$missing" ] || exit 0
line="apt-get install --yes --no-install-recommends$missing"
if [ "$(id -u)" = 0 ]; then
	sudo=""
elif sudo -n true 2>/dev/null; then
	sudo="sudo"
else
	echo "$what needs packages that are not installed, and this user may not install them." >&2
	echo "$otherwise Run as root: $line" >&2
	exit 2
fi
echo "installing:$missing"
# A daemon that a package brings (tgt) is not to be started: the lab starts its own.
policy=/usr/sbin/policy-rc.d
if [ ! -e $policy ]; then
	printf '#!/bin/sh\nexit 101\n' | $sudo tee $policy >/dev/null
	$sudo chmod 755 $policy
	trap '$sudo rm -f $policy' EXIT
fi
$sudo apt-get update -q >/dev/null || true
$sudo env DEBIAN_FRONTEND=noninteractive $line >/dev/null
