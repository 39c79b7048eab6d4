/* The least that a proxy of this kind can cost: one thread a direction, one read and one write at a time, 256 KiB. */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

static void *copy(void *arg) {
	int from = (int)((intptr_t)arg >> 32), to = (int)(intptr_t)arg;
	char *buf = malloc(256 << 10);
	ssize_t n;
	while ((n = read(from, buf, 256 << 10)) > 0)
		for (ssize_t done = 0, m; done < n; done += m)
			if ((m = write(to, buf + done, n - done)) <= 0)
				goto end;
end:
	shutdown(from, SHUT_RDWR); /* wakes the other direction too */
	shutdown(to, SHUT_RDWR);
	free(buf);
	return NULL;
}

static void start(int from, int to) {
	pthread_t t;
	pthread_create(&t, NULL, copy, (void *)((intptr_t)from << 32 | to));
	pthread_detach(t);
}

int main(int argc, char **argv) {
	struct sockaddr_in here = {.sin_family = AF_INET}, there = {.sin_family = AF_INET};
	socklen_t len = sizeof here;
	int l = socket(AF_INET, SOCK_STREAM, 0), one = 1;
	if (argc != 3)
		return 2;
	here.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	there.sin_addr.s_addr = inet_addr(argv[1]);
	there.sin_port = htons(atoi(argv[2]));
	if (bind(l, (struct sockaddr *)&here, len) || listen(l, 64) || getsockname(l, (struct sockaddr *)&here, &len))
		return 1;
	printf("127.0.0.1:%d\n", ntohs(here.sin_port));
	fflush(stdout);
	for (;;) {
		int a = accept(l, NULL, NULL), b = socket(AF_INET, SOCK_STREAM, 0);
		if (a < 0 || b < 0 || connect(b, (struct sockaddr *)&there, sizeof there))
			return 1;
		setsockopt(a, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
		setsockopt(b, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
		start(a, b); /* descriptors are never closed: it lives for one benchmark */
		start(b, a);
	}
}
