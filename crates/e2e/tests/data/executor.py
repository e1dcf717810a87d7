#!/usr/bin/env python3
"""A custom executor made with pymesos: each task ends with its own data and the executor's pid as message.

A task whose data begins with "hold" runs until there is a file "go" in the sandbox. Updates that no
agent hears are repeated. With the argument "prove" it shows the agent the token that it was started
with, which pymesos by itself does not.
"""
import os
import sys
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


class Proving(MesosExecutorDriver):
    TOKEN = 'Bearer ' + os.environ.get('MESOS_EXECUTOR_AUTHENTICATION_TOKEN', '')

    def gen_request(self):
        header = ('\r\nAuthorization: %s\r\n' % self.TOKEN).encode('ascii')
        return super().gen_request().replace(b'\r\n', header, 1)

    def _send(self, body, path='/api/v1/executor', method='POST', headers=None):
        return super()._send(body, path, method, dict(headers or {}, Authorization=self.TOKEN))


driver = Proving if sys.argv[1:] == ['prove'] else MesosExecutorDriver
driver(Echo(), use_addict=True).run()
