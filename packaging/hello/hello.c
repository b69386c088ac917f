/* The program of the image that comes along with gantry: says that a container works and what the
 * program sees in it. Without a C library, so that the image is a few kilobytes. */

#include <asm/unistd.h>
#include <linux/fcntl.h>
#include <linux/utsname.h>

typedef unsigned long word;

#if defined(__x86_64__)
static long Call3(long number, long a, long b, long c) {
  long result;
  __asm__ volatile("syscall"
                   : "=a"(result)
                   : "a"(number), "D"(a), "S"(b), "d"(c)
                   : "rcx", "r11", "memory");
  return result;
}
static long Call4(long number, long a, long b, long c, long d) {
  long result;
  register long r10 __asm__("r10") = d;
  __asm__ volatile("syscall"
                   : "=a"(result)
                   : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10)
                   : "rcx", "r11", "memory");
  return result;
}
__asm__(".globl _start\n_start:\n  xor %ebp, %ebp\n  and $-16, %rsp\n  call Main\n");
#elif defined(__aarch64__)
static long Call4(long number, long a, long b, long c, long d) {
  register long x8 __asm__("x8") = number;
  register long x0 __asm__("x0") = a;
  register long x1 __asm__("x1") = b;
  register long x2 __asm__("x2") = c;
  register long x3 __asm__("x3") = d;
  __asm__ volatile("svc 0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2), "r"(x3) : "memory");
  return x0;
}
static long Call3(long number, long a, long b, long c) { return Call4(number, a, b, c, 0); }
__asm__(".globl _start\n_start:\n  mov x29, #0\n  bl Main\n");
#else
#error "hello.c knows x86-64 and arm64"
#endif

static word Length(const char* text) {
  word n = 0;
  while (text[n] != 0) ++n;
  return n;
}

/* All output at once: one write, one line buffer. */
static char g_out[4096];
static word g_used;

static void Say(const char* text) {
  word n = Length(text);
  for (word i = 0; i < n && g_used < sizeof(g_out); ++i) g_out[g_used++] = text[i];
}

static void SayNumber(word number) {
  char digits[24];
  int at = sizeof(digits) - 1;
  digits[at] = 0;
  do {
    digits[--at] = (char)('0' + number % 10);
    number /= 10;
  } while (number != 0);
  Say(digits + at);
}

/* The first line of a small file; empty when it cannot be read. */
static void ReadLine(const char* path, char* line, word size) {
  line[0] = 0;
  long fd = Call4(__NR_openat, AT_FDCWD, (long)path, O_RDONLY, 0);
  if (fd < 0) return;
  long n = Call3(__NR_read, fd, (long)line, (long)size - 1);
  Call3(__NR_close, fd, 0, 0);
  if (n < 0) n = 0;
  line[n] = 0;
  for (word i = 0; line[i] != 0; ++i) {
    if (line[i] == '\n') line[i] = 0;
  }
}

static int IsNumber(const char* text) {
  for (const char* c = text; *c != 0; ++c) {
    if (*c < '0' || *c > '9') return 0;
  }
  return text[0] != 0;
}

static void SayMemory(void) {
  char line[64];
  ReadLine("/sys/fs/cgroup/memory.max", line, sizeof(line));
  if (line[0] == 0) ReadLine("/sys/fs/cgroup/memory/memory.limit_in_bytes", line, sizeof(line));
  word bytes = 0;
  /* Without a limit, v2 says "max" and v1 a number of 19 digits. */
  int limited = IsNumber(line) && Length(line) < 18;
  for (const char* c = line; limited && *c != 0; ++c) bytes = bytes * 10 + (word)(*c - '0');
  if (limited) {
    SayNumber(bytes >> 20);
    Say(" MiB");
  } else {
    Say(line[0] == 0 ? "unknown" : "no limit");
  }
}

__attribute__((used, noreturn)) void Main(void) {
  struct new_utsname system;
  Call3(__NR_uname, (long)&system, 0, 0);
  Say("Hello from a container that gantry runs.\n\n  host name     ");
  Say(system.nodename);
  Say("\n  process id    ");
  SayNumber((word)Call3(__NR_getpid, 0, 0, 0));
  Say("\n  user id       ");
  SayNumber((word)Call3(__NR_getuid, 0, 0, 0));
  Say("\n  memory limit  ");
  SayMemory();
  Say("\n  kernel        ");
  Say(system.sysname);
  Say(" ");
  Say(system.release);
  Say("\n\nThis image is one static program of a few kilobytes, built together with gantry.\n"
      "For a whole system:  gantryctl run --rm -it docker.io/library/alpine sh\n");
  word done = 0;
  while (done < g_used) {
    long n = Call3(__NR_write, 1, (long)(g_out + done), (long)(g_used - done));
    if (n <= 0) break;
    done += (word)n;
  }
  Call3(__NR_exit_group, done == g_used ? 0 : 1, 0, 0);
  __builtin_unreachable();
}
