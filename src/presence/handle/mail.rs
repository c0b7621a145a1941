//! What the handle does for watchers who have only mail. In: what they want, as the bridge has read it. Out: mails that are
//! due. Invariant: as for all that is said, success is told when it is on stable storage.

use super::Handle;
use crate::address::{Domain, Mailbox};
use crate::presence::{Mailing, Refusal};

impl Handle {
    /// Somebody who has only mail has asked to watch: a mail asks them whether it is so.
    pub fn confirm_by_mail(&self, watcher: &Mailbox, presentity: &Mailbox) -> Result<(), Refusal> {
        self.act(|engine, facts| engine.confirm_by_mail(facts, watcher, presentity))
    }

    /// Ends all that somebody is told by mail of presentities of a domain; they are not told so. Tells how much it was.
    /// Resolves when that is on stable storage.
    pub fn unsubscribe_by_mail(
        &self,
        watcher: &Mailbox,
        domain: &Domain,
    ) -> impl Future<Output = Result<usize, Refusal>> + Send + use<> {
        let (count, written) = self.with(true, |engine, facts| engine.unsubscribe_by_mail(facts, watcher, domain));
        async move {
            match written {
                Some(written) => written.await.map(|()| count).map_err(|fault| fault.reply()),
                None => Ok(count),
            }
        }
    }

    /// Domains to which mail about presence is due since this was asked last.
    pub fn mail_awake(&self) -> Vec<Domain> {
        self.act(|engine, _| engine.mail_awake())
    }

    /// The first mails about presence that are due to a domain; empty when none is. Each is answered by [`Handle::reported`].
    pub fn due_by_mail(&self, domain: &Domain) -> Vec<Mailing> {
        self.act(|engine, facts| engine.due_by_mail(facts, domain))
    }
}
