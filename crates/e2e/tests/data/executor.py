#!/usr/bin/env python3
"""A custom executor made with pymesos: each task ends with its own data and the executor's pid as message.

A task whose data begins with "hold" runs until there is a file "go" in the sandbox. Updates that no
agent hears are repeated.
"""
import os
import time
from threading import Thread

from addict import Dict
from pymesos import Executor, MesosExecutorDriver, decode_data


class Echo(Executor):
    def launchTask(self, driver, task):
        data = decode_data(task.data).decode()

        def update(state, message=''):
            status = Dict(state=state, message=message, timestamp=time.time())
            status.task_id.value = task.task_id.value
            while True:
                try:
                    return driver.sendStatusUpdate(status)
                except Exception:  # there is no agent at the moment
                    open(os.environ['MESOS_SANDBOX'] + '/unheard', 'w').close()
                    time.sleep(0.05)

        def run():
            update('TASK_RUNNING')
            while data.startswith('hold') and not os.path.exists(os.environ['MESOS_SANDBOX'] + '/go'):
                time.sleep(0.05)
            update('TASK_FINISHED', '%s %d' % (data, os.getpid()))

        Thread(target=run).start()


MesosExecutorDriver(Echo(), use_addict=True).run()
