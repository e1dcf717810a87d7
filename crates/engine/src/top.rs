//! The processes of a container, as ps(1) would list them. Read from /proc; nothing is started.

mod columns;
mod options;
mod process;

use crate::stats::Cgroups;
use crate::{Engine, Error, Result};

use options::Selection;
use process::{Host, Process};

/// A table of processes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Top {
    /// The columns' titles.
    pub titles: Vec<String>,
    /// One row for each process, as many fields as titles.
    pub processes: Vec<Vec<String>>,
}

impl Engine {
    /// Lists a container's processes. "Engine API ContainerTop"; empty `ps_args` is `-ef`.
    ///
    /// # Errors
    /// Conflict when it does not run, InvalidParameter for options or columns ps does not have.
    pub async fn container_top(&self, name: &str, ps_args: &str) -> Result<Top> {
        let selection = Selection::parse(ps_args)?;
        let record = self.container_inspect(name).await?.record;
        let not_running = || Error::Conflict(format!("container {} is not running", record.id));
        if !record.state.status.has_process() {
            return Err(not_running());
        }
        let pid = u32::try_from(record.state.pid).map_err(|_| not_running())?;
        crate::blocking(move || {
            let cgroups = Cgroups::of_pid(pid).map_err(Error::io("read cgroups of", "/proc"))?;
            let pids = cgroups.processes().map_err(Error::io("read", "cgroup.procs"))?;
            Ok(table(&selection, pids))
        })
        .await
    }
}

fn table(selection: &Selection, pids: impl IntoIterator<Item = u32>) -> Top {
    let host = Host::read();
    // A process that ends meanwhile is left out.
    let processes = pids.into_iter().filter_map(|pid| Process::read(pid).ok());
    let row = |process: Process| {
        selection.columns.iter().map(|column| column.keyword.value(&process, &host)).collect()
    };
    Top {
        titles: selection.columns.iter().map(|column| column.title.clone()).collect(),
        processes: processes.map(row).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn own(ps_args: &str) -> Top {
        table(&Selection::parse(ps_args).unwrap(), [std::process::id()])
    }

    #[test]
    fn common_formats_have_their_columns() {
        let rows = [
            ("", "UID PID PPID C STIME TTY TIME CMD"),
            ("-ef", "UID PID PPID C STIME TTY TIME CMD"),
            ("aux", "USER PID %CPU %MEM VSZ RSS TTY STAT START TIME COMMAND"),
            ("-aux", "USER PID %CPU %MEM VSZ RSS TTY STAT START TIME COMMAND"),
            ("-e", "PID TTY TIME CMD"),
            ("-o pid,comm", "PID COMMAND"),
            ("-eo pid,user -o args", "PID USER COMMAND"),
            ("-opid -o ppid=PARENT", "PID PARENT"),
            ("axo pid,etime,rss", "PID ELAPSED RSS"),
            ("-A --format pid,cmd", "PID CMD"),
        ];
        for (args, titles) in rows {
            let top = own(args);
            assert_eq!(top.titles.join(" "), titles, "{args}");
            assert_eq!(top.processes.len(), 1);
            assert_eq!(top.processes[0].len(), top.titles.len());
        }
    }

    #[test]
    fn values_are_those_of_the_process() {
        let top = own("-o pid,ppid,uid,comm,args,rss,nlwp,time,etime,stat,tty,pcpu,lstart");
        let row = &top.processes[0];
        assert_eq!(row[0], std::process::id().to_string());
        assert_eq!(row[1], std::os::unix::process::parent_id().to_string());
        assert_eq!(row[2], rustix::process::getuid().as_raw().to_string());
        let program = std::env::args().next().unwrap();
        assert!(row[4].starts_with(&program), "{} {program}", row[4]);
        assert!(row[5].parse::<u64>().unwrap() > 0);
        assert!(row[7].starts_with("00:00:"));
        assert!(["R", "S"].contains(&&row[9][..1]));
    }

    #[test]
    fn unknown_words_are_named() {
        let error = |args: &str| Selection::parse(args).unwrap_err().to_string();
        assert_eq!(
            error("-o pid,colour"),
            "unknown user-defined format specifier \"colour\" in ps_args \"-o pid,colour\""
        );
        assert_eq!(error("-Z"), "unsupported option \"Z\" in ps_args \"-Z\"");
        assert_eq!(error("-o"), "ps_args \"-o\" names no columns");
        assert_eq!(
            error("--sort=pid"),
            "unsupported option \"--sort=pid\" in ps_args \"--sort=pid\""
        );
    }
}
