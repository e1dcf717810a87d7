#!/usr/bin/env python3
"""A framework made with pymesos, for a master that asks who comes: runs one process to its end.

usage: proving_scheduler.py MASTER PRINCIPAL SECRET
"""
import sys

from addict import Dict
from pymesos import MesosSchedulerDriver, Scheduler


class Once(Scheduler):
    launched = False

    def resourceOffers(self, driver, offers):
        for offer in offers:
            if self.launched:
                driver.declineOffer(offer.id)
                continue
            self.launched = True
            task = Dict(name='once')
            task.task_id.value = 'once'
            task.agent_id.value = offer.agent_id.value
            task.command.value = 'true'
            task.resources = [
                dict(name='cpus', type='SCALAR', scalar={'value': 0.1}),
                dict(name='mem', type='SCALAR', scalar={'value': 32}),
            ]
            driver.launchTasks(offer.id, [task])

    def statusUpdate(self, driver, update):
        print(update.state, flush=True)
        if update.state == 'TASK_FINISHED':
            driver.stop()


master, principal, secret = sys.argv[1:]
framework = Dict(user='root', name='proving')
MesosSchedulerDriver(Once(), framework, master, use_addict=True,
                     principal=principal, secret=secret).run()
