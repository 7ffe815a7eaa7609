"""Programs that use up a resource, or try to; the honest answer to f(1) is 2, as in hostile.py."""

from __future__ import annotations

from hostile import attempt, plain

BOMBS = {
    "fork_bomb": attempt("import os\nwhile True: os.fork()"),
    "fork_bomb_by_multiprocessing": attempt("""
        import multiprocessing
        for _ in range(100): multiprocessing.get_context('fork').Process(target=print).start()
    """),
    "thread_bomb": attempt("""
        import threading, time
        for _ in range(10000): threading.Thread(target=time.sleep, args=(60,), daemon=True).start()
    """),
    "memory_bomb": attempt("data = ' ' * (1 << 36)"),
    "memory_bomb_slow": attempt("data = []\nwhile True: data.append(bytearray(1 << 22))"),
    "memory_bomb_by_mmap": attempt("import mmap; maps = [mmap.mmap(-1, 1 << 26) for _ in range(100)]"),
    "memory_bomb_while_loading": plain("data = [0] * (1 << 34)\ndef f(x): return 2"),
    "huge_number": plain("def f(x): return 2 ** (1 << 27)"),
    "huge_string": plain("def f(x): return 'x' * (1 << 27)"),
    "endless_output": attempt("while True: print('spam' * 1000)"),
    "endless_raw_output": attempt("import os\nwhile True: os.write(1, b'x' * 65536)"),
    "endless_error_output": attempt("import sys\nwhile True: sys.stderr.write('x' * 65536)"),
    "recursion": plain("def f(x): return f(x)"),
    "recursion_without_limit": plain("import sys\nsys.setrecursionlimit(10 ** 9)\ndef f(x): return [f(x)]"),
    "deep_repr": plain("""
        import sys
        sys.setrecursionlimit(10 ** 9)
        def f(x):
            v = []
            for _ in range(10 ** 6): v = [v]
            return v
    """),
    "huge_file": attempt("with open('big', 'wb') as h:\n    while True: h.write(b'x' * (1 << 20))"),
    "sparse_file": attempt("open('big', 'wb').truncate(1 << 40)"),
    "many_big_files": attempt("for i in range(64): open(f'big{i}', 'wb').write(b'x' * (1 << 20))"),
    "open_files": attempt("files = [open('/dev/null') for _ in range(5000)]"),
    "regex_backtracking": plain("import re\ndef f(x): return re.match('(a+)+$', 'a' * 60 + 'b')"),
    "endless_sleep": plain("import time\ndef f(x): time.sleep(10 ** 6)"),
    "endless_default": plain("def f(x=[0 for _ in iter(int, 1)]): return 2"),
    "deep_source": "x = " + "(" * 100_000 + ")" * 100_000 + "\ndef f(x): return 2\n",
    "wide_source": "def f(x): return " + "+".join(["x"] * 400_000) + "\n",
    "nul_and_surrogates": "def f(x): return '\0 \ud800'\n",
}

MANY_FILES = plain("""
    import os
    def f(x):
        for depth in range(60):
            os.mkdir('d'); open('d/file', 'w').close(); os.symlink('/', 'd/link'); os.chdir('d')
        return 2
""")
