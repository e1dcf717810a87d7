#!/usr/bin/env python3
"""pymesos' operator drivers: every read of the master's and the agent's operator API.

usage: operator_calls.py MASTER AGENT      both host:port; prints one line a call, ends at the first error
"""
import sys

from pymesos import MesosOperatorAgentDriver, MesosOperatorMasterDriver

BOTH = ['getHealth', 'getVersion', 'getState', 'getFrameworks', 'getExecutors', 'getTasks',
        'getFlags', 'getLoggingLevel']
MASTER = ['getAgents', 'getRoles', 'getMaster', 'getMaintenanceStatus', 'getMaintenanceSchedule',
          'getQuota', 'getWeights']
AGENT = ['getContainers']


def read(name, driver, calls):
    for call in calls:
        answer = getattr(driver, call)()
        print(name, call, answer['type'], flush=True)
    # In seconds; the only read with an argument.
    print(name, 'getMetrics', driver.getMetrics(5)['type'], flush=True)


read('master', MesosOperatorMasterDriver(sys.argv[1]), BOTH + MASTER)
# For ten minutes, in nanoseconds.
for name, driver in (('master', MesosOperatorMasterDriver(sys.argv[1])), ('agent', MesosOperatorAgentDriver(sys.argv[2]))):
    driver.setLoggingLevel(2, 600 * 10**9)
    assert driver.getLoggingLevel()['get_logging_level']['level'] == 2, name
read('agent', MesosOperatorAgentDriver(sys.argv[2]), BOTH + AGENT)
print('all read', flush=True)
