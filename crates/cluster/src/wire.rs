//! Messages between master and agent, and of those who prove who they are, as closed enums, and
//! their names and bytes on the wire.
//!
//! On the wire each is one libprocess message `mesos.internal.<Name>`; who sends and frames it is
//! the drivers' business.

use mesos_api::internal;
use prost::Message;

/// Why a message from a peer was not understood.
#[derive(Debug, thiserror::Error)]
pub enum WireError {
    #[error("no message of this name is known here: {0}")]
    UnknownName(String),
    #[error("bad {name} message")]
    Decode { name: String, source: mesos_api::WireError },
}

const PREFIX: &str = "mesos.internal.";

macro_rules! messages {
    ($(#[$doc:meta])* $enum:ident { $($variant:ident($message:ident),)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq)]
        #[allow(clippy::large_enum_variant, reason = "it always travels in a box")]
        pub enum $enum {
            $($variant(internal::$message),)*
        }

        impl $enum {
            /// The message's full name on the wire.
            pub const fn name(&self) -> &'static str {
                match self {
                    $(Self::$variant(_) => concat!("mesos.internal.", stringify!($message)),)*
                }
            }

            /// The message's bytes on the wire.
            pub fn encode(&self) -> Vec<u8> {
                match self {
                    $(Self::$variant(message) => message.encode_to_vec(),)*
                }
            }

            /// Appends the message's bytes on the wire.
            pub fn encode_into(&self, to: &mut Vec<u8>) {
                match self {
                    $(Self::$variant(message) => message.encode(to).expect("a vector grows"),)*
                }
            }

            /// Reads a message of the given full name.
            ///
            /// # Errors
            /// The name is none of these, the bytes are not that message, or it lacks what it must
            /// have.
            pub fn decode(name: &str, bytes: &[u8]) -> Result<Self, WireError> {
                match name.strip_prefix(PREFIX).unwrap_or_default() {
                    $(stringify!($message) => mesos_api::decode::<internal::$message>(bytes)
                        .map(Self::$variant)
                        .map_err(|source| WireError::Decode { name: name.to_owned(), source }),)*
                    _ => Err(WireError::UnknownName(name.to_owned())),
                }
            }
        }
    };
}

messages! {
    /// What an agent tells its master.
    FromAgent {
        Register(RegisterSlaveMessage),
        Reregister(ReregisterSlaveMessage),
        Unregister(UnregisterSlaveMessage),
        Pong(PongSlaveMessage),
        StatusUpdate(StatusUpdateMessage),
        ExitedExecutor(ExitedExecutorMessage),
        ExecutorToFramework(ExecutorToFrameworkMessage),
        UpdateAgent(UpdateSlaveMessage),
        OperationStatus(UpdateOperationStatusMessage),
    }
}

messages! {
    /// What a master tells an agent.
    ToAgent {
        Registered(SlaveRegisteredMessage),
        Reregistered(SlaveReregisteredMessage),
        Ping(PingSlaveMessage),
        RunTask(RunTaskMessage),
        RunTaskGroup(RunTaskGroupMessage),
        KillTask(KillTaskMessage),
        ShutdownFramework(ShutdownFrameworkMessage),
        ShutdownExecutor(ShutdownExecutorMessage),
        UpdateFramework(UpdateFrameworkMessage),
        AcknowledgeStatus(StatusUpdateAcknowledgementMessage),
        CheckpointResources(CheckpointResourcesMessage),
        ApplyOperation(ApplyOperationMessage),
        AcknowledgeOperation(AcknowledgeOperationStatusMessage),
        ReconcileOperations(ReconcileOperationsMessage),
        FrameworkToExecutor(FrameworkToExecutorMessage),
        Drain(DrainSlaveMessage),
        Shutdown(ShutdownMessage),
    }
}

messages! {
    /// What somebody who has to prove who it is tells the one that asks.
    FromAuthenticatee {
        Authenticate(AuthenticateMessage),
        Start(AuthenticationStartMessage),
        Step(AuthenticationStepMessage),
    }
}

messages! {
    /// What the one that asks answers.
    FromAuthenticator {
        Mechanisms(AuthenticationMechanismsMessage),
        Step(AuthenticationStepMessage),
        Completed(AuthenticationCompletedMessage),
        Failed(AuthenticationFailedMessage),
        Error(AuthenticationErrorMessage),
    }
}

#[cfg(test)]
mod tests;
