from utils.text_table import text_table


def test_numbers_stand_to_the_right_and_none_is_a_dash():
    lines = text_table(["data set", "videos", "AUC"], [["CDF", 518, "93.214"], ["FaceShifter", 280, None]])
    assert lines == ["data set     videos     AUC", "CDF             518  93.214", "FaceShifter     280       -"]
