/* docker-init: the first process of containers that are started with --init. Starts the program,
 * passes signals on to it, reaps what is orphaned, and ends as the program did. Static and without
 * memory of its own, because every such container has one. */

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

enum { kNotFound = 127, kCannotRun = 126 };

/* The program leads a process group of its own, in front of the terminal where there is one, so
 * that ^C reaches it and not us. */
static void RunProgram(char** argv, const sigset_t* mask) {
  setpgid(0, 0);
  if (isatty(0)) {
    signal(SIGTTOU, SIG_IGN);
    tcsetpgrp(0, getpid());
    signal(SIGTTOU, SIG_DFL);
  }
  sigprocmask(SIG_SETMASK, mask, NULL);
  execvp(argv[0], argv);
  int error = errno;
  dprintf(2, "exec %s failed: %s\n", argv[0], strerror(error));
  _exit(error == ENOENT ? kNotFound : kCannotRun);
}

/* Reaps all that has ended. The exit code once the program is among them, else -1. */
static int Reap(pid_t program) {
  int code = -1;
  int status;
  pid_t pid;
  while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
    if (pid != program) continue;
    code = WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
  }
  return code;
}

int main(int argc, char** argv) {
  ++argv;
  if (argc > 1 && strcmp(argv[0], "--") == 0) ++argv;
  if (argc < 2 || argv[0] == NULL) {
    dprintf(2, "usage: docker-init [--] PROGRAM [ARGUMENT...]\n");
    return kCannotRun;
  }
  if (getpid() != 1) prctl(PR_SET_CHILD_SUBREAPER, 1);
  sigset_t all, before;
  sigfillset(&all);
  /* Those that mean a mistake of our own must end us. */
  sigdelset(&all, SIGSEGV);
  sigdelset(&all, SIGBUS);
  sigdelset(&all, SIGFPE);
  sigdelset(&all, SIGILL);
  sigdelset(&all, SIGABRT);
  sigdelset(&all, SIGTRAP);
  sigdelset(&all, SIGSYS);
  sigprocmask(SIG_SETMASK, &all, &before);
  pid_t program = fork();
  if (program < 0) {
    dprintf(2, "fork: %s\n", strerror(errno));
    return kCannotRun;
  }
  if (program == 0) RunProgram(argv, &before);
  for (;;) {
    siginfo_t info;
    if (sigwaitinfo(&all, &info) < 0) continue;
    if (info.si_signo == SIGCHLD) {
      int code = Reap(program);
      if (code >= 0) return code;
    } else if (info.si_signo != SIGTTOU && info.si_signo != SIGTTIN) {
      kill(program, info.si_signo);
    }
  }
}
