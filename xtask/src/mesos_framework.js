// One Docker task by the npm client mesos-framework: ends with 0 at TASK_FINISHED.
// usage: node mesos_framework.js HOST PORT IMAGE
const { Scheduler, Mesos } = require('mesos-framework');
const types = Mesos.getMesos();
const [host, port, image] = process.argv.slice(2);

const docker = new types.ContainerInfo.DockerInfo(
  image, types.ContainerInfo.DockerInfo.Network.HOST, null, false, null, false, null);
const scheduler = new Scheduler({
  masterUrl: host,
  port: Number(port),
  frameworkName: 'mesos-framework',
  frameworkFailoverTimeout: 0,
  logging: { path: 'logs', fileName: 'judge.log', level: 'error' },
  tasks: {
    judge: {
      priority: 1,
      instances: 1,
      executorInfo: null,
      containerInfo: new types.ContainerInfo(types.ContainerInfo.Type.DOCKER, null, null, docker),
      commandInfo: new types.CommandInfo(null, null, true, 'echo from npm', null, null),
      resources: { cpus: 0.1, mem: 32, ports: 0, disk: 0 },
      healthChecks: null,
      labels: null,
    },
  },
});

const end = (code, why) => {
  console.log(why);
  // The acknowledgement is on its way. A framework without failover timeout ends with its stream;
  // torn down, this client would subscribe again without end.
  setTimeout(() => process.exit(code), 500);
};
setTimeout(() => end(1, 'nothing ended within 60 s'), 60000);
scheduler.on('update', ({ status }) => {
  console.log(status.state);
  if (status.state === 'TASK_FINISHED') end(0, 'finished');
  if (/FAILED|LOST|ERROR|KILLED/.test(status.state)) end(1, status.message);
});
scheduler.on('error', (error) => end(1, String(error && error.message || error)));
scheduler.on('ready', () => scheduler.subscribe());
