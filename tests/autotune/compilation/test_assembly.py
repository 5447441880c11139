"""What assemblers say, read; counts of instructions against texts whose counts are plain."""

from __future__ import annotations

import pytest

from autotune.compilation.assembly import (
    Registers,
    amdgcn_instructions,
    carried_bytes,
    ptx_instructions,
    read_amdgcn,
    read_ptxas,
)

_LOG = """
ptxas{name} info    : 11 bytes gmem
ptxas{name} info    : Compiling entry function 'attn' for 'sm_90a'
ptxas{name} info    : Function properties for attn
    168 bytes stack frame, 232 bytes spill stores, 192 bytes spill loads
ptxas{name} info    : Used 255 registers, used 1 barriers, 168 bytes cumulative stack size
ptxas{name} info    : Compile time = 104.403 ms
"""

_SERIALIZED = "ptxas info    : (C7511) Potential Performance Loss: wgmma.mma_async instructions are serialized due to " \
              "insufficient register resources for the wgmma pipeline in function 'attn'"


@pytest.mark.parametrize("name", ["", "-blackwell"])
def test_ptxas(name: str) -> None:
    assert read_ptxas(_LOG.format(name=name)) == Registers(255, 168, 232, 192)


def test_serialized_products_are_seen() -> None:
    found = read_ptxas(_LOG.format(name="") + _SERIALIZED)
    assert found is not None
    assert found.serialized_wgmma == "insufficient register resources for the wgmma pipeline"


def test_nothing_said_is_none() -> None:
    assert read_ptxas("ptxas fatal : Unresolved extern function 'f'") is None
    assert read_amdgcn("s_endpgm") is None


def test_functions_that_are_not_inlined_count() -> None:
    log = _LOG.format(name="").replace("    168 bytes stack", "    0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads\n    168 bytes stack")
    assert read_ptxas(log) == Registers(255, 168, 232, 192)


def test_amd() -> None:
    text = "    .private_segment_fixed_size: 20\n    .sgpr_spill_count: 3\n    .vgpr_count:     248\n    .vgpr_spill_count: 5\n"
    assert read_amdgcn(text) == Registers(248, 20, 20, 20)


def test_ptx_is_counted_by_class() -> None:
    text = """
.visible .entry k(
	.param .u64 .ptr .global .align 1 k_param_0
)
{
	.reg .b32 	%r<4>;
$L__BB0_2:
	ld.param.b64 	%rd1, [k_param_0];
	@%p1 ld.global.v4.b32 { %r27, %r28, %r29, %r30 }, [ %rd13 + 0 ];
	@!%p2 st.global.b32 [ %rd1 ], %r1;
	ld.shared.b32 	%r1, [%r2];
	ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%r1}, [%r2];
	st.shared.v4.b32 	[%r1], {%r2};
	cp.async.cg.shared.global [ %r1 + 0 ], [ %rd1 + 0 ], 0x10, %r2;
	cp.async.commit_group;
	cp.async.wait_group 0;
	cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes [%r1], [%rd1, {%r2, %r3}], [%r4];
	cp.async.bulk.tensor.2d.global.shared::cta.bulk_group [%rd1, {%r2, %r3}], [%r4];
	mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%f1}, {%r1}, {%r2}, {%f1};
	wgmma.fence.sync.aligned;
	wgmma.mma_async.sync.aligned.m64n64k16.f32.bf16.bf16 {%r146}, %rd57, %rd58, 0, 1, 1, 0, 0;
	wgmma.mma_async.sync.aligned.m64n64k16.f32.bf16.bf16 {%r146}, %rd59, %rd60, %p20, 1, 1, 0, 0;
	@%p1 tcgen05.mma.cta_group::1.kind::f16 [ %r1 ], %rd1, %rd2, %r2, %p2;
	tcgen05.ld.sync.aligned.32x32b.x64.b32 {%r1}, [%r2];
	tcgen05.st.sync.aligned.32x32b.x64.b32 [%r2], {%r1};
	tcgen05.wait::ld.sync.aligned;
	ex2.approx.ftz.f32 	%r1, %r2;
	bar.sync 	0;
	shfl.sync.bfly.b32 	%r1, %r2, 2, 31, -1;
	atom.global.gpu.acq_rel.add.f32 %r1, [%rd1], %r2;
	ret;
}
	.section	.debug_abbrev
"""
    assert ptx_instructions(text) == {
        "all": 24, "mma": 1, "wgmma": 2, "tcgen05_mma": 1, "ex2": 1, "ld_global": 1, "st_global": 1, "ld_shared": 2, "st_shared": 1,
        "ld_tensor_memory": 1, "st_tensor_memory": 1, "cp_async": 1, "tma_load": 1, "tma_store": 1, "atomic": 1, "barrier": 1,
        "shuffle": 1}


def test_amd_is_counted_by_class() -> None:
    text = """
attn:                                   ; @attn
; %bb.18:
	s_load_dwordx2 s[2:3], s[0:1], 0x0
	v_mfma_f32_32x32x8_bf16 a[0:15], v[0:1], v[2:3], a[0:15]
	v_exp_f32_e32 v1, v2
	buffer_load_dwordx4 v[0:3], v4, s[0:3], 0 offen
	global_store_dwordx2 v[0:1], v[2:3], off
	ds_read_b64 v[0:1], v2
	ds_write2st64_b64 v0, v[1:2], v[3:4] offset1:8
	ds_bpermute_b32 v1, v2, v3
	s_barrier
	.section	.AMDGPU.csdata
"""
    found = amdgcn_instructions(text)
    assert found == {"all": 9, "mma": 1, "ex2": 1, "ld_global": 1, "st_global": 1, "ld_shared": 1, "st_shared": 1, "atomic": 0,
                     "barrier": 1, "shuffle": 1}


@pytest.mark.parametrize(("loop", "expected"), [
    (("%acc:3 = scf.for %n = %c0 to %N step %c64 iter_args(%m = %a, %l = %b, %acc = %c) -> (tensor<128xf32>, tensor<128xf32>, "
     "tensor<128x64xf32>)  : i32 {"), 4 * (128 + 128 + 128 * 64)),
    ("%acc = scf.for %n = %c0 to %N step %c64 iter_args(%acc = %c) -> (tensor<128x64xbf16>) : i32 {", 2 * 128 * 64),
    ("%x = scf.for %n = %c0 to %N step %c64 iter_args(%p = %c) -> (tensor<16x!tt.ptr<f32>>, i32) : i32 {", 0),
    ("scf.for %n = %c0 to %N step %c64  : i32 {", 0),
    ("%x:2 = scf.while (%a = %b, %c = %d) : (tensor<8xf32>, i32) -> (tensor<8xf32>, i32) {", 32),
])
def test_what_loops_carry(loop: str, expected: int) -> None:
    assert carried_bytes(f"  {loop}\n") == expected
    assert carried_bytes(f"  {loop}\n") == carried_bytes(f"  {loop}\n  scf.for %i = %a to %b step %c : i32 {{\n")
