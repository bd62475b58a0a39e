//! Rules that somebody else has removed come back, and what other firewalls do to
//! us is looked at again when they change.

use std::io::PipeReader;
use std::sync::PoisonError;

use netd_api::Lease;

use super::{ControlError, Controller};
use crate::family::Family;
use crate::firewall::foreign::{self, LastAdvice, NO_ADVICE};
use crate::firewall::watch::{Heard, Watch, is_intact};
use crate::firewall::{self, Element};
use crate::plan::reconcile::{Found, missing_elements};
use crate::state::Phase;

impl Controller {
    /// Keeps the rules in place until the other end of `over` is closed.
    pub fn watch_rules(&self, over: PipeReader) {
        let watch = Watch::open(&self.table, over);
        let mut watch = match watch {
            Ok(watch) => watch,
            Err(error) => {
                let error = ::base::failure::chain(&error);
                return tracing::error!(%error, "what others do to the rules goes unseen");
            }
        };
        let mut advice = NO_ADVICE;
        loop {
            let heard = match watch.hear() {
                Ok(Some(heard)) => heard,
                Ok(None) => return,
                Err(error) => {
                    tracing::error!(%error, "what others do to the rules goes unseen");
                    return;
                }
            };
            if let Err(error) = self.attend_to(heard, &mut advice) {
                let error = ::base::failure::chain(&error);
                tracing::error!(%error, "cannot put the rules back");
            }
        }
    }

    fn attend_to(&self, heard: Heard, advice: &mut LastAdvice) -> Result<(), ControlError> {
        if heard.ours && !is_intact(&self.table)? {
            tracing::warn!("somebody removed rules of ours, they come back");
            return self.repair();
        }
        if heard.others {
            let prefix = self.instance.interface_prefix();
            let script = foreign::script_again(&self.table, &prefix, advice)?;
            if !script.is_empty() {
                firewall::base::run(&self.table, &script)?;
            }
        }
        Ok(())
    }

    /// Loads the rules, and adds the elements that networks and leases say.
    fn repair(&self) -> Result<(), ControlError> {
        let _acting = self.acting.write().unwrap_or_else(PoisonError::into_inner);
        let others = foreign::script(&self.table, &self.instance.interface_prefix())?;
        firewall::base::load(&self.table, &others)?;
        let mut host = self.open_host()?;
        for family in [Family::V4, Family::V6] {
            if self.forwarding.is_ours(family) {
                host.firewall()?.add(&[Element::Guarded(family)])?;
            }
        }
        let found = Found {
            links: host.route().links()?,
            elements: host.firewall()?.elements()?,
            ..Found::default()
        };
        let (leases, networks) = {
            let state = self.state();
            // One that is being released gives its elements back.
            let held = state.runs.values();
            let held = held.filter(|run| run.phase != Phase::Releasing);
            let leases: Vec<Lease> = held.map(|run| run.lease.clone()).collect();
            (leases, state.networks.clone())
        };
        let missing = missing_elements(&leases, &networks, &found);
        host.firewall()?.add(&missing)?;
        tracing::info!(elements = missing.len(), "the rules are back");
        Ok(())
    }
}
