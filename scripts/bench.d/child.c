/* Both ends of a measured start: it stamps the time and becomes the init, and it is the main child.
 *
 *   child start INIT ARGS...   prints "start NS" and becomes INIT
 *   child ANYTHING             does what BENCH_CHILD says:
 *     stamp     prints "main NS" and exits
 *     idle      prints "ready" and sleeps for good
 *     answer    is a CLI that answers its prompt at once, in the session that it is told to use; the prompt "wait"
 *               never, and the prompt "stream" in pieces, of which each is the time in nanoseconds at which it was printed
 *     orphans   makes BENCH_ORPHANS orphans, twice, and prints how long it took until all were reaped:
 *               "storm NS", each ends at once, and "burst NS", all end together
 *
 * Linked statically, so that its own start takes little and always the same.
 */
#define _GNU_SOURCE
#include <ctype.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static long long now(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return time.tv_sec * 1000000000LL + time.tv_nsec;
}

static void report(const char *what, long long nanoseconds) {
  printf("%s %lld\n", what, nanoseconds);
  fflush(stdout);
}

static void fail(const char *what) {
  perror(what);
  exit(1);
}

/* Makes one orphan, which ends once nobody can write to its gate any more. `pid` is in shared memory. */
static void make_orphan(pid_t *pid, const int gate[2]) {
  pid_t parent = fork();
  if (parent < 0) fail("fork");
  if (parent == 0) {
    pid_t orphan = fork();
    if (orphan == 0) {
      char byte;
      close(gate[1]);
      _exit(read(gate[0], &byte, 1) != 0);
    }
    *pid = orphan;
    _exit(orphan < 0);
  }
  int status;
  if (waitpid(parent, &status, 0) != parent || status != 0) fail("orphan");
}

/* A zombie still takes signals; a pid that has been reaped does not. */
static void wait_until_reaped(const pid_t *pids, int count) {
  for (int i = 0; i < count; i++)
    while (kill(pids[i], 0) == 0 || errno != ESRCH) usleep(100);
}

static void orphans(int count) {
  pid_t *pids = mmap(NULL, count * sizeof *pids, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (pids == MAP_FAILED) fail("mmap");

  int open_gate[2], shut_gate[2];
  if (pipe(open_gate) || pipe(shut_gate)) fail("pipe");
  close(open_gate[1]);
  open_gate[1] = -1;
  long long start = now();
  for (int i = 0; i < count; i++) make_orphan(&pids[i], open_gate);
  wait_until_reaped(pids, count);
  report("storm", now() - start);

  for (int i = 0; i < count; i++) make_orphan(&pids[i], shut_gate);
  usleep(100000); /* the last of them has reached its gate */
  start = now();
  close(shut_gate[1]);
  wait_until_reaped(pids, count);
  report("burst", now() - start);
}

/* One piece of an answer every 5 ms. */
static void pieces(void) {
  for (int i = 0; i < 60; i++) {
    usleep(5000);
    printf("{\"type\":\"stream_event\",\"event\":{\"type\":\"content_block_delta\",\"index\":0,\"delta\":{"
           "\"type\":\"text_delta\",\"text\":\"%lld \"}},\"session_id\":\"8f0e6f0e-0000-4000-8000-000000000001\","
           "\"parent_tool_use_id\":null}\n", now());
    fflush(stdout);
  }
}

/* Whether the prompt, plain or in a message of stream-json, begins with a word. */
static int asks_for(const char *prompt, const char *word) {
  const char *text = strstr(prompt, "\"type\":\"text\",\"text\":\"");
  return strncmp(text ? strstr(text, "\"text\":\"") + 8 : prompt, word, strlen(word)) == 0;
}

/* Keeps the session that it is started with as the CLI does: one line is a conversation. */
static void keep_session(const char *id) {
  char cwd[4096], path[8192];
  const char *home = getenv("CLAUDE_CONFIG_DIR");
  if (!getcwd(cwd, sizeof cwd)) fail("getcwd");
  int length = home ? snprintf(path, sizeof path, "%s/projects", home)
                    : snprintf(path, sizeof path, "%s/.claude/projects", getenv("HOME"));
  mkdir(path, 0700);
  path[length++] = '/';
  for (const char *byte = cwd; *byte; byte++) path[length++] = isalnum((unsigned char)*byte) ? *byte : '-';
  path[length] = 0;
  mkdir(path, 0700);
  snprintf(path + length, sizeof path - length, "/%s.jsonl", id);
  FILE *file = fopen(path, "a");
  if (!file) fail(path);
  fprintf(file, "{\"type\":\"user\",\"cwd\":\"%s\",\"entrypoint\":\"sdk-cli\"}\n", cwd);
  fclose(file);
}

/* The CLI's stream of events, as short as it can be. */
static void answer(int argc, char **argv) {
  const char *id = "8f0e6f0e-0000-4000-8000-000000000001";
  for (int i = 1; i + 1 < argc; i++)
    if (strcmp(argv[i], "--session-id") == 0 || strcmp(argv[i], "--resume") == 0) id = argv[i + 1];
  static char prompt[(1 << 16) + 1];
  size_t length = 0;
  for (ssize_t count; length < sizeof prompt - 1 && (count = read(0, prompt + length, sizeof prompt - 1 - length)) > 0;)
    length += (size_t)count;
  keep_session(id);
  printf("{\"type\":\"system\",\"subtype\":\"init\",\"session_id\":\"%s\"}\n", id);
  fflush(stdout);
  if (asks_for(prompt, "wait"))
    for (;;) pause();
  if (asks_for(prompt, "stream")) pieces();
  printf("{\"type\":\"result\",\"subtype\":\"success\",\"is_error\":false,\"result\":\"done\","
         "\"session_id\":\"%s\",\"total_cost_usd\":0}\n", id);
}

int main(int argc, char **argv) {
  if (argc > 2 && strcmp(argv[1], "start") == 0) {
    report("start", now());
    execvp(argv[2], argv + 2);
    fail(argv[2]);
  }
  long long started = now();
  const char *role = getenv("BENCH_CHILD");
  if (role && strcmp(role, "stamp") == 0) {
    report("main", started);
  } else if (role && strcmp(role, "idle") == 0) {
    puts("ready");
    fflush(stdout);
    for (;;) pause();
  } else if (role && strcmp(role, "answer") == 0) {
    answer(argc, argv);
  } else if (role && strcmp(role, "orphans") == 0) {
    orphans(atoi(getenv("BENCH_ORPHANS")));
  } else {
    fputs("BENCH_CHILD is not set\n", stderr);
    return 1;
  }
  return 0;
}
