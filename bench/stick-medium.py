# nbdkit plugin: a medium with one half-duplex bus, such as a USB stick. Every byte that is read or
# written takes its time there, and nothing else happens meanwhile.
#   nbdkit python bench/stick-medium.py file=IMAGE read=BYTES_S write=BYTES_S
import os
import time

import nbdkit

API_VERSION = 2
settings = {}
# When the bus is free again.
free_at = 0.0


def config(key, value):
    settings[key] = value


def thread_model():
    return nbdkit.THREAD_MODEL_SERIALIZE_ALL_REQUESTS


def open(readonly):
    return os.open(settings["file"], os.O_RDONLY if readonly else os.O_RDWR)


def close(handle):
    os.close(handle)


def get_size(handle):
    return os.fstat(handle).st_size


def take(count, rate):
    global free_at
    now = time.monotonic()
    free_at = max(now, free_at) + count / float(settings[rate])
    # A sleep is a little too long each time: what it was too long by is not slept the next time.
    if free_at - now > 0.001:
        time.sleep(free_at - now)


def pread(handle, buffer, offset, flags):
    os.preadv(handle, [buffer], offset)
    take(len(buffer), "read")


def pwrite(handle, buffer, offset, flags):
    os.pwrite(handle, buffer, offset)
    take(len(buffer), "write")


def flush(handle, flags):
    pass


def can_flush(handle):
    return True
