/* Stands before the C library's resolver: names are found as long as the file named by NAMES_FOUND
 * is there, and lead to this machine. Without it the name server cannot be reached. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <netdb.h>
#include <stdlib.h>
#include <unistd.h>

typedef int lookup(const char *, const char *, const struct addrinfo *, struct addrinfo **);

int getaddrinfo(const char *name, const char *service, const struct addrinfo *hints,
                struct addrinfo **found) {
    lookup *real = (lookup *)dlsym(RTLD_NEXT, "getaddrinfo");
    const char *file = getenv("NAMES_FOUND");
    if (file == NULL || access(file, F_OK) != 0)
        return EAI_AGAIN;
    return real("127.0.0.1", service, hints, found);
}
