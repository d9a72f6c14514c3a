"""SIGINT is remembered once, raises twice, and the handler is put back."""

import os
import signal
import threading

import pytest

from dynamics.engine.interrupt import Interrupts


def test_first_is_remembered_second_raises_and_the_handler_comes_back():
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with Interrupts() as interrupts:
            interrupts.check()
            os.kill(os.getpid(), signal.SIGINT)
            assert interrupts.asked
            with pytest.raises(KeyboardInterrupt):
                interrupts.check()
            with pytest.raises(KeyboardInterrupt):
                os.kill(os.getpid(), signal.SIGINT)
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, before)


def test_another_handler_and_another_thread_are_left_alone():
    def own(*_):
        return None

    before = signal.signal(signal.SIGINT, own)
    try:
        with Interrupts():
            assert signal.getsignal(signal.SIGINT) is own
    finally:
        signal.signal(signal.SIGINT, before)
    errors = []

    def work():
        try:
            with Interrupts() as interrupts:
                interrupts.check()
        except Exception as error:
            errors.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert not errors
