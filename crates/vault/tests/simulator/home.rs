//! A small home, which changes a little, and its backup.

pub(crate) struct Random(pub u64);

impl Random {
    pub(crate) fn below(&mut self, most: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) % most as u64) as usize
    }

    pub(crate) fn one_in(&mut self, many: usize) -> bool {
        self.below(many) == 0
    }

    pub(crate) fn bytes(&mut self, count: usize) -> Vec<u8> {
        (0..count).map(|_| self.below(256) as u8).collect()
    }
}

/// A small home: a database of small pages, and a few files.
#[derive(Clone, Default)]
pub(crate) struct Home {
    database: Vec<u8>,
    file: Vec<u8>,
}

pub(crate) const PAGE: usize = 512;

impl Home {
    pub(crate) fn change(&mut self, random: &mut Random) {
        if self.database.is_empty() {
            self.database = vec![0; 128 * PAGE];
            self.database[..18].copy_from_slice(b"SQLite format 3\0\x02\0");
        }
        let pages = 128 + random.below(40);
        if random.one_in(3) {
            self.database.resize(pages * PAGE, 3);
        }
        for _ in 0..=random.below(40) {
            let page = 1 + random.below(self.database.len() / PAGE - 1);
            let new = random.bytes(16);
            self.database[page * PAGE..page * PAGE + 16].copy_from_slice(&new);
        }
        if random.one_in(2) {
            let length = random.below(900);
            self.file = random.bytes(length);
        }
    }

    pub(crate) fn archive(&self, instance: usize) -> Vec<u8> {
        let mut inner = Vec::new();
        member(&mut inner, "data/configuration.yaml", &self.file);
        member(&mut inner, "data/home-assistant_v2.db", &self.database);
        inner.resize(inner.len() + 1024, 0);
        let mut outer = Vec::new();
        let json = format!("{{\"extra\": {{\"instance_id\": \"{instance}\"}}}}");
        member(&mut outer, "./backup.json", json.as_bytes());
        member(&mut outer, "homeassistant.tar", &inner);
        outer.resize(outer.len() + 1024, 0);
        outer
    }
}

pub(crate) fn member(tar: &mut Vec<u8>, name: &str, content: &[u8]) {
    let mut block = [0; 512];
    block[..name.len()].copy_from_slice(name.as_bytes());
    block[100..107].copy_from_slice(b"0000644");
    block[124..135].copy_from_slice(format!("{:011o}", content.len()).as_bytes());
    block[156] = b'0';
    block[257..265].copy_from_slice(b"ustar\x0000");
    block[148..156].fill(b' ');
    let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
    block[148..154].copy_from_slice(format!("{sum:06o}").as_bytes());
    block[154] = 0;
    tar.extend_from_slice(&block);
    tar.extend_from_slice(content);
    tar.resize(tar.len().next_multiple_of(512), 0);
}
