/*
 * The load: one session, a closed loop of READ(16) or WRITE(16) with a number of commands in flight, and as little work of
 * its own as can be, so that what is measured is the way to the target. One read takes all answers that are there, one
 * writev sends all that they lead to.
 *
 * It believes nothing: each answer must belong to a command in flight, follow in StatSN, have status GOOD and no residual,
 * and each command must have moved each byte once, in order. Anything else ends it with a message and exit code 1.
 *
 * Prints "begin" when it has warmed up, and then "end COMMANDS NANOSECONDS CPU-NANOSECONDS" of the time that was asked for.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

enum { HEADER = 48, MAX_DEPTH = 256, MAX_IOV = 1024, BUFFER = 256 << 10 };
static const uint32_t NONE = 0xffffffff;

static struct task {
	uint32_t itt;  /* NONE: not in flight */
	uint32_t done; /* bytes that have come, or gone */
	uint32_t data_sn;
} tasks[MAX_DEPTH];

static int fd, writes, depth, at_random, verify, closing;
static uint32_t bytes, slots; /* of a command; commands that the disk has room for */
static uint64_t lun, done, began;
static uint32_t cmd_sn = 1, max_cmd_sn, stat_sn;
static uint32_t immediate = 1, initial_r2t = 1, first_burst = 65536, max_burst = 262144, max_send = 8192;
static unsigned char *pattern; /* what every command writes, and should read */
static unsigned char in[BUFFER];

static void die(const char *format, ...) {
	va_list a;
	va_start(a, format);
	fputs("load: ", stderr);
	vfprintf(stderr, format, a);
	fputc('\n', stderr);
	exit(1);
}

static uint32_t get(const unsigned char *h, int at) {
	uint32_t v;
	memcpy(&v, h + at, 4);
	return ntohl(v);
}

static void put(unsigned char *h, int at, uint32_t v) {
	v = htonl(v);
	memcpy(h + at, &v, 4);
}

static uint32_t data_len(const unsigned char *h) { return get(h, 4) & 0xffffff; }

static uint32_t min(uint32_t a, uint32_t b) { return a < b ? a : b; }

static uint64_t now(void) {
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000ull + t.tv_nsec;
}

static uint64_t cpu(void) {
	struct timespec t;
	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
	return t.tv_sec * 1000000000ull + t.tv_nsec;
}

/* What goes out with the next writev. Headers of one batch that have no data between them are one piece. */
static unsigned char headers[MAX_IOV / 2][HEADER];
static struct iovec iov[MAX_IOV];
static int niov, nheaders;

static void flush(void) {
	struct iovec *v = iov;
	while (niov > 0) {
		ssize_t n = writev(fd, v, niov);
		if (n <= 0)
			die("writing: %s", strerror(errno));
		for (; niov > 0 && (size_t)n >= v->iov_len; v++, niov--)
			n -= v->iov_len;
		if (niov > 0) {
			v->iov_base = (char *)v->iov_base + n;
			v->iov_len -= n;
		}
	}
	nheaders = 0;
}

/* A header in the batch, zeroed, that data of this length follows: multiples of four, so nothing is padded. */
static unsigned char *add(const void *data, uint32_t len) {
	unsigned char *h;
	if (nheaders == MAX_IOV / 2)
		flush();
	h = headers[nheaders++];
	memset(h, 0, HEADER);
	put(h, 4, len);
	if (niov > 0 && (unsigned char *)iov[niov - 1].iov_base + iov[niov - 1].iov_len == h)
		iov[niov - 1].iov_len += HEADER;
	else
		iov[niov++] = (struct iovec){h, HEADER};
	if (len > 0)
		iov[niov++] = (struct iovec){(void *)data, len};
	return h;
}

static void send_data(struct task *t, uint32_t ttt, uint32_t to) {
	for (t->data_sn = 0; t->done < to; t->data_sn++) {
		uint32_t n = min(to - t->done, max_send);
		unsigned char *h = add(pattern + t->done, n);
		h[0] = 0x05;
		h[1] = t->done + n == to ? 0x80 : 0;
		put(h, 8, lun >> 32);
		put(h, 16, t->itt);
		put(h, 20, ttt);
		put(h, 28, stat_sn);
		put(h, 36, t->data_sn);
		put(h, 40, t->done);
		t->done += n;
	}
}

static void submit(struct task *t) {
	static uint32_t next, generation;
	static uint64_t seed = 88172645463325252ull;
	uint32_t first = 0, more = 0;
	uint64_t slot;
	unsigned char *h;
	if ((int32_t)(max_cmd_sn - cmd_sn) < 0)
		die("the target's window is closed at %u commands in flight", depth);
	seed ^= seed << 13, seed ^= seed >> 7, seed ^= seed << 17;
	slot = at_random ? seed % slots : next++ % slots;
	if (writes) {
		uint32_t all = min(bytes, min(first_burst, max_burst));
		first = immediate ? min(all, max_send) : 0;
		more = initial_r2t ? 0 : all - first;
	}
	t->itt = (generation++ & 0x7fffff) << 8 | (t - tasks);
	t->done = first;
	h = add(pattern, first);
	h[0] = 0x01;
	h[1] = (more ? 0 : 0x80) | (writes ? 0x20 : 0x40) | 1;
	put(h, 8, lun >> 32);
	put(h, 16, t->itt);
	put(h, 20, bytes);
	put(h, 24, cmd_sn++);
	put(h, 28, stat_sn);
	h[32] = writes ? 0x8a : 0x88;
	slot *= bytes / 512;
	put(h, 34, slot >> 32);
	put(h, 38, slot);
	put(h, 42, bytes / 512);
	if (more)
		send_data(t, NONE, first + more);
}

static void window(const unsigned char *h, int has_stat) {
	if (has_stat && get(h, 24) != stat_sn++)
		die("StatSN %u after %u", get(h, 24), stat_sn - 2);
	if ((int32_t)(get(h, 32) - max_cmd_sn) > 0)
		max_cmd_sn = get(h, 32);
}

static void ended(struct task *t, const unsigned char *h) {
	if (h[3] || h[1] & 0x06)
		die("status %02x, flags %02x, residual %u", h[3], h[1], get(h, 44));
	if (t->done != bytes)
		die("%u of %u bytes", t->done, bytes);
	t->itt = NONE;
	done++;
	if (!closing)
		submit(t);
}

/* One PDU of the target. Its data follows; *data is where in the command it belongs. */
static void take(const unsigned char *h, uint32_t *data) {
	struct task *t = &tasks[h[19]];
	uint32_t len = data_len(h), op = h[0] & 0x3f;
	if (h[4])
		die("additional header segments");
	if (get(h, 16) == NONE || t->itt != get(h, 16))
		die("opcode %02x for tag %x, which is not in flight", op, get(h, 16));
	switch (op) {
	case 0x25: /* Data-In */
		if (writes || get(h, 40) != t->done || len > bytes - t->done)
			die("%u bytes at %u, not at %u of %u", len, get(h, 40), t->done, bytes);
		if (get(h, 36) != t->data_sn++)
			die("DataSN %u, not %u", get(h, 36), t->data_sn - 1);
		*data = t->done;
		t->done += len;
		window(h, h[1] & 1);
		if (h[1] & 1) {
			t->data_sn = 0;
			ended(t, h);
		}
		return;
	case 0x21: /* SCSI Response */
		window(h, 1);
		t->data_sn = 0;
		if (h[2])
			die("response %02x", h[2]);
		ended(t, h);
		return;
	case 0x31: /* R2T */
		window(h, 0);
		if (!writes || get(h, 40) != t->done || get(h, 44) == 0 || get(h, 44) > bytes - t->done || get(h, 44) & 3)
			die("asked for %u bytes at %u, not at %u of %u", get(h, 44), get(h, 40), t->done, bytes);
		send_data(t, get(h, 20), t->done + get(h, 44));
		t->data_sn = 0;
		return;
	}
	die("opcode %02x", op);
}

static void receive(void *to, size_t len) {
	for (ssize_t n; len > 0; to = (char *)to + n, len -= n)
		if ((n = read(fd, to, len)) <= 0)
			die("reading: %s", n ? strerror(errno) : "the connection has ended");
}

/* One request and its answer, outside of the loop; the data segment of the answer is left in in, as a string. */
static unsigned char *ask(unsigned char opcode) {
	static unsigned char h[HEADER];
	uint32_t len;
	flush();
	receive(h, HEADER);
	len = data_len(h);
	if (h[4] || len >= sizeof in)
		die("a header that makes no sense");
	receive(in, len + (-len & 3));
	in[len] = 0;
	if ((h[0] & 0x3f) != opcode)
		die("opcode %02x and not %02x", h[0] & 0x3f, opcode);
	stat_sn = get(h, 24) + 1;
	max_cmd_sn = get(h, 32);
	return h;
}

static const char *key(const char *name, uint32_t len) {
	size_t n = strlen(name);
	for (const char *p = (char *)in; p < (char *)in + len; p += strlen(p) + 1)
		if (!strncmp(p, name, n) && p[n] == '=')
			return p + n + 1;
	return NULL;
}

static void number(const char *name, uint32_t len, uint32_t *v) {
	const char *s = key(name, len);
	if (s)
		*v = *s == 'Y' ? 1 : *s == 'N' ? 0 : strtoul(s, NULL, 0);
}

static void login(const char *target) {
	static const char offer[] = "HeaderDigest=None\0DataDigest=None\0MaxRecvDataSegmentLength=262144\0InitialR2T=No\0"
				    "ImmediateData=Yes\0MaxBurstLength=262144\0FirstBurstLength=262144\0MaxOutstandingR2T=1\0"
				    "MaxConnections=1\0DefaultTime2Wait=2\0DefaultTime2Retain=0\0ErrorRecoveryLevel=0\0"
				    "DataPDUInOrder=Yes\0DataSequenceInOrder=Yes";
	for (int stage = 0; stage < 2; stage++) {
		static char text[1024];
		unsigned char *h;
		uint32_t n;
		if (stage == 0)
			n = snprintf(text, sizeof text, "InitiatorName=iqn.2026-11.allpathsdown.bench:load%cAuthMethod=None%cSessionType=Normal%cTargetName=%s", 0, 0, 0, target) + 1;
		else
			memcpy(text, offer, n = sizeof offer);
		h = add(text, n + (-n & 3));
		put(h, 4, n);
		h[0] = 0x43;
		h[1] = stage == 0 ? 0x81 : 0x87;
		h[8] = 0x80;
		put(h, 9, getpid());
		put(h, 24, cmd_sn);
		put(h, 28, stat_sn);
		h = ask(0x23);
		if (h[36] || !(h[1] & 0x80))
			die("the login ended with %02x%02x", h[36], h[37]);
		n = data_len(h);
		number("ImmediateData", n, &immediate);
		number("InitialR2T", n, &initial_r2t);
		number("FirstBurstLength", n, &first_burst);
		number("MaxBurstLength", n, &max_burst);
		number("MaxRecvDataSegmentLength", n, &max_send);
	}
	max_send &= ~3u; /* nothing is to be padded */
	first_burst &= ~3u;
}

/* A new session begins with a UNIT ATTENTION. */
static void ready(void) {
	for (int i = 0;; i++) {
		unsigned char *h = add(NULL, 0);
		h[0] = 0x01;
		h[1] = 0x81;
		put(h, 8, lun >> 32);
		put(h, 24, cmd_sn++);
		put(h, 28, stat_sn);
		h = ask(0x21);
		if (h[2] == 0 && h[3] == 0)
			return;
		if (i == 5)
			die("the LUN is not ready: status %02x", h[3]);
	}
}

static void loop(uint64_t warm, uint64_t each) {
	uint32_t have = 0, left = 0, data = 0, own = 0; /* of the present PDU: bytes to come, where they belong, without padding */
	uint64_t start = now(), cpu0 = 0, done0 = 0;
	int phase = 0, flying;
	for (int i = 0; i < MAX_DEPTH; i++)
		tasks[i].itt = NONE;
	for (int i = 0; i < depth; i++)
		submit(&tasks[i]);
	flush();
	do {
		uint32_t pos = 0;
		uint64_t t;
		ssize_t n = read(fd, in + have, sizeof in - have);
		if (n <= 0)
			die("reading: %s", n ? strerror(errno) : "the connection has ended");
		have += n;
		for (;;) {
			if (left > 0) {
				uint32_t n = min(left, have - pos), m = min(own, n);
				if (verify && memcmp(in + pos, pattern + data, m))
					die("wrong data");
				pos += n, left -= n, data += m, own -= m;
			}
			if (left > 0 || have - pos < HEADER)
				break;
			own = data_len(in + pos);
			left = own + (-own & 3);
			take(in + pos, &data);
			pos += HEADER;
		}
		flush();
		memmove(in, in + pos, have -= pos);
		t = now();
		if (phase == 0 && t - start >= warm) {
			phase = 1, done0 = done, began = t;
			puts("begin");
			fflush(stdout);
			cpu0 = cpu();
		} else if (phase == 1 && t - began >= each && done > done0) { /* on a busy machine one may take longer */
			phase = 2, closing = 1;
			printf("end %llu %llu %llu\n", (unsigned long long)(done - done0), (unsigned long long)(t - began), (unsigned long long)(cpu() - cpu0));
			fflush(stdout);
		}
		flying = 0;
		if (closing)
			for (int i = 0; i < depth; i++)
				flying += tasks[i].itt != NONE;
	} while (!closing || flying || left);
	if (have)
		die("%u bytes that belong to nothing", have);
}

int main(int argc, char **argv) {
	struct sockaddr_in there = {.sin_family = AF_INET};
	int one = 1;
	unsigned char *h;
	if (argc != 12) {
		fputs("usage: load HOST PORT TARGET LUN read|write BYTES DEPTH random|sequential|verify DISK-BYTES WARM-MS MS\n", stderr);
		return 2;
	}
	lun = strtoull(argv[4], NULL, 0) << 48;
	writes = argv[5][0] == 'w';
	bytes = atoi(argv[6]);
	depth = atoi(argv[7]);
	at_random = argv[8][0] == 'r';
	verify = argv[8][0] == 'v';
	if (bytes < 512 || bytes % 512 || bytes > 262144 || depth < 1 || depth > MAX_DEPTH || (slots = strtoull(argv[9], NULL, 0) / bytes) == 0)
		die("numbers that make no sense");
	pattern = malloc(bytes);
	for (uint32_t i = 0; i < bytes; i++)
		pattern[i] = i % 251;
	alarm(30 + (atoi(argv[10]) + atoi(argv[11])) / 1000); /* of a command that is never answered */
	fd = socket(AF_INET, SOCK_STREAM, 0);
	there.sin_addr.s_addr = inet_addr(argv[1]);
	there.sin_port = htons(atoi(argv[2]));
	if (fd < 0 || connect(fd, (struct sockaddr *)&there, sizeof there))
		die("connecting: %s", strerror(errno));
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
	login(argv[3]);
	ready();
	loop(atoi(argv[10]) * 1000000ull, atoi(argv[11]) * 1000000ull);
	h = add(NULL, 0); /* logout: close the session */
	h[0] = 0x46;
	h[1] = 0x80;
	put(h, 24, cmd_sn);
	put(h, 28, stat_sn);
	h = ask(0x26);
	if (h[2])
		die("the logout ended with %02x", h[2]);
	return 0;
}
