#!/usr/bin/env python3
"""A custom executor made with pymesos: each task ends with its own data and the executor's pid as message."""
import os
import time
from threading import Thread

from addict import Dict
from pymesos import Executor, MesosExecutorDriver, decode_data


class Echo(Executor):
    def launchTask(self, driver, task):
        def update(state, message=''):
            status = Dict(state=state, message=message, timestamp=time.time())
            status.task_id.value = task.task_id.value
            driver.sendStatusUpdate(status)

        def run():
            update('TASK_RUNNING')
            update('TASK_FINISHED', '%s %d' % (decode_data(task.data).decode(), os.getpid()))

        Thread(target=run).start()


MesosExecutorDriver(Echo(), use_addict=True).run()
