/* A web server of one page, static, for an image that holds nothing else. */
#include <arpa/inet.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

int main(void) {
    const char *port = getenv("PORT");
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    address.sin_port = htons((unsigned short)atoi(port ? port : "8080"));
    signal(SIGPIPE, SIG_IGN);
    int listener = socket(AF_INET, SOCK_STREAM, 0), on = 1;
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (listener < 0 || bind(listener, (struct sockaddr *)&address, sizeof address) < 0 || listen(listener, 16) < 0) {
        perror("listen");
        return 1;
    }
    for (;;) {
        char request[4096], body[64], answer[256];
        int connection = accept(listener, NULL, NULL);
        if (connection < 0) {
            continue;
        }
        /* A client may send its request in pieces: the blank line ends it. */
        size_t have = 0;
        ssize_t more;
        request[0] = 0;
        while (!strstr(request, "\r\n\r\n") && have < sizeof request - 1
               && (more = read(connection, request + have, sizeof request - 1 - have)) > 0) {
            have += (size_t)more;
            request[have] = 0;
        }
        snprintf(body, sizeof body, "{\"message\":\"hello\",\"user\":%d}", (int)getuid());
        int length = snprintf(answer, sizeof answer,
            "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %zu\r\nConnection: close\r\n\r\n%s",
            strlen(body), body);
        if (write(connection, answer, (size_t)length) < 0) {
            perror("write");
        }
        close(connection);
    }
}
