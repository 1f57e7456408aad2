// A child process of a test: started, talked to by lines, ended.
#ifndef PARK_TESTS_CHILD_HPP
#define PARK_TESTS_CHILD_HPP

#include <csignal>
#include <cstdio>
#include <string>
#include <sys/wait.h>
#include <unistd.h>
#include <vector>

class Child {
public:
  explicit Child(std::vector<std::string> arguments) {
    int in[2], out[2];
    if (pipe(in) != 0 || pipe(out) != 0) {
      std::perror("pipe");
      std::exit(2);
    }
    std::vector<char *> argv;
    for (std::string &argument : arguments) {
      argv.push_back(argument.data());
    }
    argv.push_back(nullptr);
    pid_ = fork();
    if (pid_ == 0) {
      dup2(in[0], 0);
      dup2(out[1], 1);
      for (int fd : {in[0], in[1], out[0], out[1]}) {
        close(fd);
      }
      execv(argv[0], argv.data());
      _exit(127);
    }
    close(in[0]);
    close(out[1]);
    to_ = in[1];
    from_ = fdopen(out[0], "r");
  }
  Child(const Child &) = delete;
  Child &operator=(const Child &) = delete;
  ~Child() {
    if (pid_ > 0) {
      end(SIGKILL);
    }
    close(to_);
    std::fclose(from_);
  }

  // A line that the child says; empty when it has ended.
  std::string line() {
    char buffer[512];
    return std::fgets(buffer, sizeof buffer, from_) ? buffer : "";
  }

  void say(const std::string &line) {
    if (write(to_, line.data(), line.size()) < 0) {
      std::perror("write");
    }
  }

  // Waits for the end, after a signal unless that is 0; the exit status, or 128 and the signal.
  int end(int signal = 0) {
    if (signal != 0) {
      kill(pid_, signal);
    }
    int status = 0;
    waitpid(pid_, &status, 0);
    pid_ = -1;
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  }

  pid_t pid() const { return pid_; }

private:
  pid_t pid_ = -1;
  int to_ = -1;
  std::FILE *from_ = nullptr;
};

#endif
