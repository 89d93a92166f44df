"""What is read off machine code: registers that are overwritten while a matrix product needs them."""

from __future__ import annotations

from tests.kernels.clobber import overwritten

SOUND = """
        /*0000*/                   LDSM.16.M88.4 R152, [R4+UR7] ;
        /*0010*/                   HGMMA.64x128x16.F32.BF16 R24, R152, gdesc[UR16], RZ, !UPT, gsb0 ;
        /*0020*/                   WARPGROUP.DEPBAR.LE gsb0, 0x0 ;
        /*0030*/              @!P1 FMNMX R5, R24, R25, !PT ;
        /*0040*/                   F2FP.BF16.F32.PACK_AB R160, R25, R24 ;
        /*0050*/                   HGMMA.64x128x16.F32.BF16 R88, R160, gdesc[UR16].tnspB, R88, gsb0 ;
        /*0060*/                   ISETP.NE.U32.AND P0, PT, R21, R186, PT ;
        /*0070*/               @P0 BRA 0x10 ;
        /*0080*/                   WARPGROUP.DEPBAR.LE gsb0, 0x0 ;
        /*0090*/                   IMAD.MOV.U32 R160, RZ, RZ, R7 ;
"""


def test_code_that_keeps_its_operands_is_sound() -> None:
    assert overwritten(SOUND) == []


def test_an_operand_from_before_a_loop_that_the_loop_overwrites_is_found() -> None:
    lost = "R152 of the product at 0x10 is from before its loop, which overwrites it"
    assert overwritten(SOUND.replace("R160", "R152")) == [lost]


def test_an_operand_overwritten_while_its_product_runs_is_found() -> None:
    early = SOUND.replace("ISETP.NE.U32.AND P0, PT, R21, R186, PT", "MOV R161, R9")
    assert "R161 is overwritten at 0x60 while a product reads it" in overwritten(early)


def test_a_product_that_may_still_run_keeps_its_operands() -> None:
    one_left = SOUND.replace("gsb0, 0x0 ;\n        /*0090*/", "gsb0, 0x1 ;\n        /*0090*/")
    assert overwritten(one_left) == ["R160 is overwritten at 0x90 while a product reads it"]
