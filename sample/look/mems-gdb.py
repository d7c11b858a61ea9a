# Commands of GDB that show the MeMS heap of a program, alive or dead:
#
#   mems print             the chains
#   mems stats             the counters
#   mems check             verifies the heap
#   mems explain ADDRESS   what an address is; ADDRESS is any expression
#
# Read it in with "source mems-gdb.py". It takes the core dump that GDB looks at, or writes one of
# what a live program may write to (that of GDB itself has all the address space that a heap
# reserves), and has mems-look show it: so nothing is called in the program, which may have stopped
# anywhere, and no symbols are needed. mems-look is sought in the folder that the variable
# MEMS_LOOK names, beside this file, in the folder of programs that belongs to it, and in PATH.

import os
import re
import shutil
import struct
import subprocess
import tempfile

import gdb

HERE = os.path.dirname(os.path.realpath(__file__))  # which is not there later on
PAGE = 4096
PIECE = 1 << 20


def program():
    """The path of mems-look."""
    folders = [os.environ.get("MEMS_LOOK", ""), os.path.join(HERE, ".."),
               os.path.join(HERE, "..", "..", "bin"), os.path.join(HERE, "..", "..", "..", "bin")]
    for folder in filter(None, folders):
        path = os.path.join(folder, "mems-look")
        if os.path.isfile(path) and os.access(path, os.X_OK):
            return path
    path = shutil.which("mems-look")
    if path is None:
        raise gdb.GdbError("mems-look is not found: set MEMS_LOOK to its folder")
    return path


def core_file():
    """The core dump that GDB looks at, or None."""
    found = re.search(r"Local core dump file:\s+[`'](.*)', file type",
                      gdb.execute("info files", to_string=True))
    return found.group(1) if found else None


def writable(pid):
    """The ranges of addresses that a process may write to."""
    with open("/proc/%d/maps" % pid, encoding="utf-8", errors="replace") as maps:
        for line in maps:
            addresses, rights = line.split()[:2]
            if rights.startswith("rw"):
                start, end = (int(address, 16) for address in addresses.split("-"))
                yield start, end - start


def memory_copy(memory, core, begin, start, size):
    """Copies a range of addresses to the core dump, from there on; leaves holes for zeros, and where
    nothing can be read, as beyond the end of a file that is mapped."""
    for done in range(0, size, PIECE):
        memory.seek(start + done)
        try:
            piece = memory.read(min(PIECE, size - done))
        except OSError:
            break
        if piece.count(0) != len(piece):
            core.seek(begin + done)
            core.write(piece)


def core_write(pid, path):
    """Writes what a live process may write to as a core dump."""
    with open("/proc/%d/exe" % pid, "rb") as executable:
        head = executable.read(64)
    is_64 = head[4] == 2
    order = "<" if head[5] == 1 else ">"
    machine = struct.unpack_from(order + "H", head, 18)[0]
    header = struct.Struct(order + ("HHIQQQIHHHHHH" if is_64 else "HHIIIIIHHHHHH"))
    entry = struct.Struct(order + ("IIQQQQQQ" if is_64 else "IIIIIIII"))
    ranges = list(writable(pid))
    begin = 16 + header.size
    contents = offset = -(-(begin + len(ranges) * entry.size) // PAGE) * PAGE
    with open(path, "wb") as core, open("/proc/%d/mem" % pid, "rb", buffering=0) as memory:
        core.write(head[:16] + header.pack(4, machine, 1, 0, begin, 0, 0, begin, entry.size,
                                           len(ranges), 0, 0, 0))
        for start, size in ranges:
            core.write(entry.pack(1, 6, offset, start, 0, size, size, PAGE) if is_64
                       else entry.pack(1, offset, start, 0, size, size, 6, PAGE))
            offset += size
        core.truncate(offset)
        for start, size in ranges:
            memory_copy(memory, core, contents, start, size)
            contents += size


def look(options):
    """Runs mems-look on the program and prints what it says."""
    if gdb.selected_inferior().pid == 0:
        raise gdb.GdbError("no program runs, and there is no core dump")
    path = core_file()
    with tempfile.TemporaryDirectory(prefix="mems-") as folder:
        if path is None:
            path = os.path.join(folder, "program")
            core_write(gdb.selected_inferior().pid, path)
        done = subprocess.run([program()] + options + [path], stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, universal_newlines=True, check=False)
    gdb.write(done.stdout)
    if done.returncode == 2:
        raise gdb.GdbError("the heap cannot be shown")


class Prefix(gdb.Command):
    """Shows the MeMS heap of the program."""

    def __init__(self):
        super().__init__("mems", gdb.COMMAND_DATA, gdb.COMPLETE_NONE, True)

    def invoke(self, argument, _from_tty):
        if argument:
            raise gdb.GdbError('there is no "mems %s" (try "help mems")' % argument)
        gdb.execute("help mems")


class Plain(gdb.Command):
    """One of the commands without an argument."""

    def __init__(self, name, text):
        self.option = "--" + name
        self.__doc__ = text
        super().__init__("mems " + name, gdb.COMMAND_DATA, gdb.COMPLETE_NONE)

    def invoke(self, argument, _from_tty):
        if argument:
            raise gdb.GdbError("this command takes no argument")
        look([self.option])


class Explain(gdb.Command):
    """Says what an address is: mems explain ADDRESS. A virtual or a physical one."""

    def __init__(self):
        super().__init__("mems explain", gdb.COMMAND_DATA, gdb.COMPLETE_EXPRESSION)

    def invoke(self, argument, _from_tty):
        if not argument:
            raise gdb.GdbError("mems explain takes an address")
        try:
            value = int(gdb.parse_and_eval(argument)) & 0xFFFFFFFFFFFFFFFF
        except gdb.error as error:
            raise gdb.GdbError(str(error)) from None
        look(["--explain", str(value)])


Prefix()
Plain("print", "Prints the chains of the MeMS heap.")
Plain("stats", "Prints the counters of the MeMS heap.")
Plain("check", "Verifies the MeMS heap.")
Explain()
