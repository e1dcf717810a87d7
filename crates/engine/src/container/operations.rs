//! The operations on containers that [`Engine`] offers.

use super::{
    AttachOptions, AttachStream, ContainerSnapshot, CreateRequest, Created, ListFilter,
    RemoveOptions, StopOptions, TerminalSize, UpdateRequest, Wait, WaitCondition,
};
use crate::{Engine, Error, Result};

fn pending<T>() -> Result<T> {
    Err(Error::Unavailable("not available yet".to_owned()))
}

impl Engine {
    /// Makes a container. "Engine API ContainerCreate".
    ///
    /// # Errors
    /// NotFound for the image, Conflict for the name, InvalidParameter for the rest.
    pub async fn container_create(&self, request: CreateRequest) -> Result<Created> {
        let _ = request;
        pending()
    }

    /// Starts a container. "Engine API ContainerStart".
    ///
    /// # Errors
    /// NotModified when it runs already.
    pub async fn container_start(&self, name: &str) -> Result<()> {
        let _ = name;
        pending()
    }

    /// Stops a container: its stop signal, after the timeout SIGKILL.
    ///
    /// # Errors
    /// NotModified when it does not run.
    pub async fn container_stop(&self, name: &str, options: StopOptions) -> Result<()> {
        let _ = (name, options);
        pending()
    }

    /// Stops a container if it runs, then starts it.
    ///
    /// # Errors
    /// Those of stop and start.
    pub async fn container_restart(&self, name: &str, options: StopOptions) -> Result<()> {
        let _ = (name, options);
        pending()
    }

    /// Sends a signal, by name or number, to process 1; `None` is SIGKILL.
    ///
    /// # Errors
    /// Conflict when it does not run.
    pub async fn container_kill(&self, name: &str, signal: Option<&str>) -> Result<()> {
        let _ = (name, signal);
        pending()
    }

    /// Freezes a container's processes.
    ///
    /// # Errors
    /// Conflict when it does not run or is paused.
    pub async fn container_pause(&self, name: &str) -> Result<()> {
        let _ = name;
        pending()
    }

    /// Thaws a container's processes.
    ///
    /// # Errors
    /// Conflict when it is not paused.
    pub async fn container_unpause(&self, name: &str) -> Result<()> {
        let _ = name;
        pending()
    }

    /// Gives a container another name.
    ///
    /// # Errors
    /// Conflict when the name is taken.
    pub async fn container_rename(&self, name: &str, new_name: &str) -> Result<()> {
        let _ = (name, new_name);
        pending()
    }

    /// Changes limits and restart policy; answers with warnings.
    ///
    /// # Errors
    /// InvalidParameter for values that cannot be.
    pub async fn container_update(
        &self,
        name: &str,
        request: UpdateRequest,
    ) -> Result<Vec<String>> {
        let _ = (name, request);
        pending()
    }

    /// Removes a container.
    ///
    /// # Errors
    /// Conflict when it runs and `force` is not set, or when it is being removed already.
    pub async fn container_remove(&self, name: &str, options: RemoveOptions) -> Result<()> {
        let _ = (name, options);
        pending()
    }

    /// Sets the size of a container's terminal.
    ///
    /// # Errors
    /// Conflict when it does not run.
    pub async fn container_resize(&self, name: &str, size: TerminalSize) -> Result<()> {
        let _ = (name, size);
        pending()
    }

    /// Lists containers, newest first.
    ///
    /// # Errors
    /// InvalidParameter or NotFound for filters that name nothing.
    pub async fn container_list(&self, filter: ListFilter) -> Result<Vec<ContainerSnapshot>> {
        let _ = filter;
        pending()
    }

    /// Looks a container up by id, name, or the beginning of an id.
    ///
    /// # Errors
    /// NotFound; InvalidParameter when several ids begin so.
    pub async fn container_inspect(&self, name: &str) -> Result<ContainerSnapshot> {
        let _ = name;
        pending()
    }

    /// Registers a wait. When this returns the wait is in place, and headers can be sent.
    ///
    /// # Errors
    /// NotFound.
    pub async fn container_wait(&self, name: &str, condition: WaitCondition) -> Result<Wait> {
        let _ = (name, condition);
        pending()
    }

    /// Attaches to a container's streams. One that does not run yet is attached to when it
    /// starts, so that no output is missed.
    ///
    /// # Errors
    /// Conflict when it is paused or restarting.
    pub async fn container_attach(
        &self,
        name: &str,
        options: AttachOptions,
    ) -> Result<AttachStream> {
        let _ = (name, options);
        pending()
    }
}
