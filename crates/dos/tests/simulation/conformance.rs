//! The simulated database is a database.

use std::sync::Arc;

use store::database::Database;
use store::database::conformance::{self, Factory};

use super::database::Model;
use super::world::{Process, World};

struct OnModel(Arc<Model>, Arc<Process>);

#[async_trait::async_trait]
impl Factory for OnModel {
    async fn open(&self) -> Result<Arc<dyn Database>, store::database::Error> {
        self.0.open()?;
        Ok(Arc::new(self.0.of(&self.1)))
    }

    async fn close(&self, _: Arc<dyn Database>) {}

    async fn make_newer(&self) {
        self.0.make_newer();
    }
}

#[test]
fn the_simulated_database_conforms() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(async {
        let world = World::new(1);
        world.heal();
        let process = Process::new(&world);
        conformance::all(&OnModel(Arc::new(Model::new(world)), process)).await;
    });
}
